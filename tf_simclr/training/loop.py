"""The training loop: steps, progress, checkpoints, validation, interruption."""

import signal
import time
from collections.abc import Callable

from absl import logging

from tf_simclr import distribute
from tf_simclr.console import Progress
from tf_simclr.errors import Failed, Interrupted
from tf_simclr.runs.interrupts import Interrupts
from tf_simclr.training import divergence, initialization, length_change, precompute, summaries
from tf_simclr.training.batches import Batches, StepRunner
from tf_simclr.training.experiment import Experiment
from tf_simclr.training.loss_watch import LossWatch
from tf_simclr.training.periodic_work import PeriodicWork
from tf_simclr.training.summaries import Summaries
from tf_simclr.training.train_step import TrainStep

STEPS_BETWEEN_SUMMARIES = 10
STEPS_OF_PACE = 20  # after which the time of a step is known


def fit(
    experiment: Experiment,
    description: str = "training",
    on_pace: Callable[[float], None] | None = None,
):
    """Trains until the last step, from the newest checkpoint of the run directory if it has one.

    Args:
        experiment: what is trained.
        description: of the training, for its progress.
        on_pace: called once with the seconds of a step; None: nothing to do.

    Raises:
        Interrupted: SIGINT or SIGTERM arrived; a checkpoint was written.
        KeyboardInterrupt: one arrived before the first step was done.
        Diverged: a loss or gradient is not finite; the last checkpoint is of an earlier step.
    """
    start = restore_or_initialize(experiment)
    num_steps = experiment.num_steps
    if start >= num_steps:
        logging.info("training is complete: step %d of %d", start, num_steps)
        return
    batch_size = experiment.settings.train.train_batch_size
    labels_per_batch = experiment.data.labels_per_batch
    events = _make_summaries(experiment)
    periodic_work = PeriodicWork(experiment, events)
    runner = make_step_runner(experiment, start)
    pace = Pace(on_pace)
    with (
        events,
        Interrupts() as interrupts,
        Progress(description, num_steps * batch_size, start * batch_size) as progress,
    ):
        for step, batch, step_metrics in _take_steps(experiment, runner, periodic_work, start):
            interrupts.finish_steps(runner.seconds)
            metrics = step_metrics[-1]
            text = summaries.describe(metrics, labels_per_batch)
            progress.update(batch_size * len(step_metrics), text)
            pace.after(step)
            stop = distribute.any_worker(experiment.strategy, interrupts.received)
            is_last = step == num_steps or stop
            is_time = step % STEPS_BETWEEN_SUMMARIES == 1 or len(step_metrics) > 1
            if is_time or is_last:
                events.write_metrics(step, metrics, int(experiment.checkpoints.skipped))
            if step == start + 1:
                events.write_images(step, batch)
            periodic_work.after(step, is_last)
            if stop:
                raise Interrupted(
                    f"interrupted at step {step} of {num_steps}, which is saved in "
                    f"{experiment.directory.path}; run the same command again to resume",
                    interrupts.received or signal.SIGTERM,
                )


class Pace:
    """Tells once how long a step takes, the first ones left out, which are compiled.

    Args:
        tell: a function of the seconds of a step; None: nothing to do.
    """

    def __init__(self, tell: Callable[[float], None] | None):
        self._tell = tell
        self._begin = None

    def after(self, step: int):
        """To be called after steps. step: the number of the last one."""
        now = time.monotonic()
        if self._begin is None:
            self._begin = step, now
        first_step, first_time = self._begin
        if self._tell is not None and step - first_step >= STEPS_OF_PACE:
            self._tell((now - first_time) / (step - first_step))
            self._tell = None


def _take_steps(experiment, runner, periodic_work, start):
    """Yields (steps done, batch of the last step or None, [metrics of each step])."""
    settings = experiment.settings
    num_steps = experiment.num_steps
    watch = _make_loss_watch(experiment)
    step = start
    while step < num_steps:
        most = min(settings.hardware.steps_per_loop, num_steps - step)
        count = periodic_work.steps_until_due(step, most)
        batch, step_metrics = runner.run(step, count)
        for metrics in step_metrics:
            step += 1
            divergence.check_metrics(
                metrics,
                step,
                objective=experiment.objective,
                checkpoints=experiment.checkpoints,
                max_skipped=settings.train.skip_nonfinite,
            )
            watch.after(step, metrics, experiment.objective.warning(metrics))
        yield step, batch, step_metrics


def _make_loss_watch(experiment):
    return LossWatch(
        experiment.settings,
        num_steps=experiment.num_steps,
        warmup=experiment.learning_rate.warmup,
        num_classes=experiment.num_classes,
    )


def _make_summaries(experiment):
    return Summaries(
        experiment.directory.path,
        metrics_log=experiment.metrics_log,
        learning_rate=experiment.learning_rate,
        objective=experiment.objective,
        strategy=experiment.strategy,
    )


def make_step_runner(experiment: Experiment, start: int) -> StepRunner:
    """What takes the steps of a training after `start` of them."""
    settings, strategy, objective = experiment.settings, experiment.strategy, experiment.objective
    train_step = TrainStep(objective, experiment.optimizer, settings, strategy)
    batch_parts = precompute.with_constants(
        experiment.data.batch_parts, objective=objective, settings=settings, strategy=strategy
    )
    batches = Batches(
        batch_parts, start, example=objective.example, settings=settings, strategy=strategy
    )
    return StepRunner(train_step, batches)


def restore_or_initialize(experiment: Experiment) -> int:
    """Restores the newest checkpoint, or gives a new training its weights.

    The run directory becomes this run's own.

    Returns:
        How many steps are done.

    Raises:
        Failed: the workers do not see the same checkpoints.
    """
    experiment.lock_directory()
    checkpoints = experiment.checkpoints
    if checkpoints.resume():
        logging.info("resuming from %s", checkpoints.last)
    else:
        initialization.initialize(
            experiment.objective,
            settings=experiment.settings,
            train_source=experiment.data.train_source,
            strategy=experiment.strategy,
        )
    step = int(checkpoints.step)
    saved_length = experiment.directory.other_length()  # on all workers, before one writes
    if not distribute.all_workers_agree(experiment.strategy, step):
        raise workers_disagree(experiment, step)
    if saved_length is not None:
        length_change.check(experiment, step)
        length_change.log(experiment, step, saved_length)
    experiment.commit_directory()  # only now: a start that fails leaves no configuration behind
    if distribute.is_chief(experiment.strategy):
        experiment.metrics_log.drop_after(step)
    return step


def workers_disagree(experiment: Experiment, step: int) -> Failed:
    """The error of several workers that do not see the same checkpoints.

    Args:
        experiment: whose checkpoints they are.
        step: of the newest one that this worker sees.
    """
    return Failed(
        f"--model_dir={experiment.directory.path}: the workers do not see the same "
        f"checkpoints there (here step {step}); give a directory that all share"
    )
