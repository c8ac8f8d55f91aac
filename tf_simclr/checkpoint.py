"""Checkpoints of a training: saving and resuming."""

import functools

import tensorflow as tf

from tf_simclr import distribute, weights
from tf_simclr.config import UserError

PREFIX = "ckpt"


class Checkpointer:
    """Checkpoints of (objective, optimizer, step) in one directory, by the paths of the variables.

    A dict of variables instead of the Keras objects: TensorFlow does not see Keras layers held in lists, and loses them
    without a word.
    """

    def __init__(self, directory, objective, optimizer, strategy, keep=None):
        self.objective, self.optimizer, self.strategy = objective, optimizer, strategy
        self.directory, self.keep = str(directory), keep or None
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="seconds")  # of training, over all starts
        self._checkpoint = tf.train.Checkpoint(
            model={v.path: v.value for v in objective.variables},
            optimizer={v.path: v.value for v in optimizer.variables}, step=self.step, seconds=self.seconds)

    @functools.cached_property
    def _manager(self):
        """Looks into the directory when it is first used, which is after the directory was locked."""
        return tf.train.CheckpointManager(self._checkpoint, self.directory, self.keep, checkpoint_name=PREFIX)

    def latest(self):
        """Prefix of the newest checkpoint, or None."""
        return self._manager.latest_checkpoint

    def save(self):
        """Writes a checkpoint of the current step, on the chief; the other workers wait.

        Raises:
            UserError: the directory can't be written to.
        """
        if distribute.is_chief(self.strategy) and self.latest_step() != int(self.step):
            try:
                self._manager.save(checkpoint_number=int(self.step))
            except (OSError, tf.errors.OpError) as error:
                raise UserError(f"step {int(self.step)} can't be saved in {self.directory} ({weights.first_line(error)}); "
                                f"the last checkpoint is {self.latest() or 'none yet'}, the same command goes on from there") from None
        distribute.barrier(self.strategy)

    def latest_step(self):
        """Step of the newest checkpoint, or None."""
        return int(self.latest().rsplit("-", 1)[1]) if self.latest() else None

    def resume(self, prefix=None):
        """Restores `prefix` (the newest checkpoint if it is None); False where there is none.

        Raises:
            UserError: the checkpoint is damaged or belongs to another network.
        """
        prefix = prefix or self.latest()
        if prefix is None:
            return False
        try:
            reader = tf.train.load_checkpoint(prefix)
            parts = (("model", self.objective.variables), ("optimizer", self.optimizer.variables))
            weights.read(reader, {v.path: (weights.key_of(part, v.path), v) for part, variables in parts for v in variables})
            self.step.assign(reader.get_tensor("step" + weights.VALUE))
            seconds = "seconds" + weights.VALUE  # not in the checkpoints of version 0.1.0
            self.seconds.assign(reader.get_tensor(seconds) if reader.has_tensor(seconds) else 0.0)
        except weights.DAMAGED as error:
            others = [path for path in self._manager.checkpoints if path != prefix]
            raise UserError(f"checkpoint {prefix} can't be restored: {weights.first_line(error)}; start from another one "
                            f"in a new --model_dir with --checkpoint={others[-1] if others else 'PREFIX'}") from None
        return True
