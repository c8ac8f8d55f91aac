"""A few training steps of a network, to know how long they take on this machine."""

import gc
import time

from tf_simclr.commands.planning.budget import Pace
from tf_simclr.config import Config
from tf_simclr.training.experiment import build_experiment
from tf_simclr.training.loop import make_step_runner

STEPS = 30
SECONDS = 8.0  # after which fewer steps do
LEAST_STEPS = 3
NOT_COUNTED = 1  # steps after the first one, while the input pipeline fills its buffers


def time_steps(settings: Config) -> Pace:
    """Times steps as the training will take them, its input included; nothing is written.

    Args:
        settings: of the training.
    """
    experiment = build_experiment(settings)
    runner = make_step_runner(experiment, start=0)
    begin = time.monotonic()
    runner.run(0, 1)
    first_step = time.monotonic() - begin
    for step in range(1, 1 + NOT_COUNTED):
        runner.run(step, 1)
    begin = time.monotonic()
    done = 0
    while done < STEPS:
        runner.run(1 + NOT_COUNTED + done, 1)
        done += 1
        if done >= LEAST_STEPS and time.monotonic() - begin > SECONDS:
            break
    seconds = (time.monotonic() - begin) / done
    del runner, experiment
    gc.collect()  # before the next network is built
    return Pace(first_step, seconds)
