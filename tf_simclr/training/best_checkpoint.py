"""The weights with the best metric on held-out images so far, in `best/` of the run directory."""

import math
from collections.abc import Callable

from absl import logging
from etils import epath

from tf_simclr import distribute
from tf_simclr.checkpoints import storage
from tf_simclr.checkpoints.checkpointer import Checkpointer
from tf_simclr.errors import UserError
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory


class BestCheckpoint:
    """A checkpoint, what stands beside weights, and best.json.

    The process that writes decides alone which weights are best: metrics of several workers may
    differ in the last digit.

    Args:
        directory: `RunDirectory` of `best/`.
        checkpoints: `Checkpointer` of that directory.
        training_checkpoints: `Checkpointer` of the training, whose step counts.
        write_description: writes what stands beside weights into a `RunDirectory`.
        strategy: which process is the chief.
    """

    def __init__(
        self,
        directory: RunDirectory,
        checkpoints: Checkpointer,
        *,
        training_checkpoints: Checkpointer,
        write_description: Callable[[RunDirectory], None],
        strategy,
    ):
        self._directory = directory
        self._checkpoints = checkpoints
        self._training_checkpoints = training_checkpoints
        self._write_description = write_description
        self._strategy = strategy
        self._is_chief = distribute.is_chief(strategy)
        self._record = None
        if self._is_chief:
            self._record = read_record(directory, int(training_checkpoints.step))

    def update(self, criterion: str, value: float, num_held_out: int) -> bool:
        """Keeps the current weights if their `value` is higher than all before.

        Args:
            criterion: name of the metric.
            value: of the current weights; they are not kept if it is not finite.
            num_held_out: of how many images it is.

        Returns:
            Whether they are kept.
        """
        is_better = math.isfinite(value) and (self._record is None or value > self._record["value"])
        if not distribute.any_worker(self._strategy, self._is_chief and is_better):
            return False
        self._checkpoints.step.assign(self._training_checkpoints.step)
        self._checkpoints.seconds.assign(self._training_checkpoints.seconds)
        self._checkpoints.skipped.assign(self._training_checkpoints.skipped)
        if self._is_chief:
            self._directory.create()
            self._write_description(self._directory)
        self._checkpoints.save()
        if self._is_chief:
            self._record = {
                "step": int(self._checkpoints.step),
                "criterion": criterion,
                "value": value,
                "held_out": num_held_out,
            }
            self._directory.write(run_files.BEST_RECORD, self._record)
        return True

    def log_summary(self):
        """Logs which weights are the best, and how to use them."""
        if self._record is None:
            return
        logging.info(
            "the best %s, %.4g, was at step %d; its weights are kept: --checkpoint=%s",
            self._record["criterion"],
            self._record["value"],
            self._record["step"],
            self._directory.path,
        )


def read_record(directory: RunDirectory, start: int) -> dict | None:
    """The content of best.json, where it agrees with the checkpoint beside it.

    A record of a step that this training has not done, or of another checkpoint, is removed with
    its files.

    Args:
        directory: of the best checkpoint.
        start: how many steps the training has done.
    """
    record = directory.read(run_files.BEST_RECORD)
    try:
        checkpoint = storage.newest(directory.path)
    except UserError:
        storage.set_aside(directory.path)
        checkpoint = None
    if record and checkpoint:
        step = storage.step_of(checkpoint)
        if step == record["step"] <= start:
            return record
    if record or checkpoint:
        logging.info(
            "%s is not of the first %d steps of this training: looking for the best anew",
            directory.path,
            start,
        )
        _remove_files(directory.path)
    return None


def _remove_files(directory: epath.Path):
    for path in directory.iterdir():
        if not path.is_dir():
            path.unlink()
