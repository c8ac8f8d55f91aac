"""A few training steps of a network, to know how long they take on this machine."""

import gc
import time

from tf_simclr.commands.planning.costs import Pace
from tf_simclr.config import Config
from tf_simclr.distribute import on_cpu
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
    first_step = _seconds_of_work(runner.run, 0, 1)
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


def _seconds_of_work(function, *arguments):
    """The time that a call takes, on a CPU without waiting for other processes.

    The first step stands for all that a stage takes besides its steps, many times over, and a
    moment in which the machine is busy would count as often. Measured on two cores with eight busy
    processes: four first steps took 7.8 to 11.7 s, of which 3.7 to 4.3 s were their own work.
    """
    begin, begin_of_work = time.monotonic(), time.process_time()
    function(*arguments)
    seconds = time.monotonic() - begin
    work = time.process_time() - begin_of_work  # of all threads
    return min(seconds, work) if on_cpu() else seconds
