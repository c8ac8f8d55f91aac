"""What comes between the steps of a training: checkpoints and validation."""

import time

import tensorflow as tf
from absl import logging

from tf_simclr import distribute
from tf_simclr.checkpoints.checkpointer import Checkpointer
from tf_simclr.runs import files as run_files
from tf_simclr.runs import interrupts
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.training import divergence
from tf_simclr.training.batches import NOT_OF_AN_IMAGE
from tf_simclr.training.best_checkpoint import BestCheckpoint
from tf_simclr.training.experiment import Experiment
from tf_simclr.training.summaries import Summaries
from tf_simclr.training.validation import Validation


class PeriodicWork:
    """Saves and validates when it is time for either; counts the seconds that are training.

    Args:
        experiment: what is trained.
        events: where the metrics of a validation are written.
    """

    def __init__(self, experiment: Experiment, events: Summaries):
        options = experiment.settings.train
        images_between = options.checkpoint_epochs * experiment.data.num_images
        self._experiment = experiment
        self._checkpoints = experiment.checkpoints
        self._events = events
        self._validation = make_validation(experiment)
        self._steps_between_checkpoints = options.checkpoint_steps or max(
            images_between // options.train_batch_size, 1
        )
        self._restart_clock()

    def _restart_clock(self):
        self._clock_start = time.monotonic() - float(self._checkpoints.seconds)

    def steps_until_due(self, step: int, most: int) -> int:
        """How many steps there are after `step` until there is work after one, at most `most`."""
        for ahead in range(1, most):
            if self._saves_after(step + ahead) or self._validates_after(step + ahead):
                return ahead
        return most

    def _saves_after(self, step):
        return step % self._steps_between_checkpoints == 0

    def _validates_after(self, step):
        return self._validation is not None and self._validation.is_due(step)

    def after(self, step: int, is_last: bool):
        """Does the work that is due after a step; the last step of this start is always saved."""
        saves = is_last or self._saves_after(step)
        validates = self._validates_after(step)
        if not (saves or validates):
            return
        divergence.check_weights(self._experiment.objective, step, self._checkpoints)
        self._checkpoints.step.assign(step)
        self._checkpoints.seconds.assign(time.monotonic() - self._clock_start)
        # A validation may take longer than a signal leaves, and the steps before it are not saved.
        with interrupts.hold(after_second=False):
            if validates:  # before the training is saved, so that no start can leave it out
                metrics = self._validate(step)
                tags = {f"monitor/{name}": value for name, value in metrics.items()}
                self._events.write_scalars(step, tags)
                self._restart_clock()
            if saves:
                self._events.flush()  # before, so that a start from the checkpoint has all of them
                with interrupts.hold():
                    self._checkpoints.save()

    def _validate(self, step):
        try:
            return self._validation.evaluate(step)
        except tf.errors.OpError as error:
            # Of several workers the others would wait for this one's part of the images.
            is_alone = distribute.num_workers(self._experiment.strategy) == 1
            of_an_image = is_alone and not isinstance(error, NOT_OF_AN_IMAGE)
            if not (of_an_image and self._experiment.unreadable_images()):
                raise
            logging.warning(
                "step %d: the validation is left out, some held-out images can't be read any more",
                step,
            )
            return {}


def make_validation(experiment: Experiment) -> Validation | None:
    """The validation of a training that was just restored; None where nothing is held out."""
    data = experiment.data
    if data.held_out is None:
        return None
    directory = RunDirectory(experiment.directory.path / run_files.BEST, experiment.settings)
    checkpoints = Checkpointer(
        directory.path,
        experiment.objective,
        experiment.optimizer,
        experiment.strategy,
        keep=1,
    )
    best = BestCheckpoint(
        directory,
        checkpoints,
        training_checkpoints=experiment.checkpoints,
        write_description=experiment.write_description,
        strategy=experiment.strategy,
    )
    return Validation(
        experiment.objective,
        data.held_out,
        train_source=data.train_source,
        best=best,
        settings=experiment.settings,
        strategy=experiment.strategy,
        num_images=data.num_images,
        num_steps=experiment.num_steps,
    )
