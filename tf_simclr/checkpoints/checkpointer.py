"""Checkpoints of a training: saving and resuming."""

import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.checkpoints import files as checkpoint_files
from tf_simclr.checkpoints import weights
from tf_simclr.errors import Failed, UserError


class Checkpointer:
    """Checkpoints of (objective, optimizer, step) in one directory, by the paths of the variables.

    A dict of variables instead of the Keras objects: TensorFlow does not see Keras layers held in lists, and loses them
    without a word.
    """

    def __init__(self, directory, objective, optimizer, strategy, keep=None):
        self.objective, self.optimizer, self.strategy = objective, optimizer, strategy
        self.directory, self.keep = str(directory), keep or None
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.seconds = tf.Variable(
            0.0, dtype=tf.float64, trainable=False, name="seconds"
        )  # of training, over all starts
        self.last = None  # prefix of what was last saved or restored
        self.skipped = tf.Variable(
            0, dtype=tf.int64, trainable=False, name="skipped"
        )  # steps that were left out
        self._checkpoint = tf.train.Checkpoint(
            model={v.path: v.value for v in objective.variables},
            optimizer={v.path: v.value for v in optimizer.variables},
            step=self.step,
            seconds=self.seconds,
            skipped=self.skipped,
        )

    def latest(self):
        """Prefix of the newest whole checkpoint, or None. Raises UserError where all are damaged."""
        return checkpoint_files.newest(self.directory)

    def save(self):
        """Writes a checkpoint of the current step, on the chief; the other workers wait.

        Raises:
            Failed: the directory can't be written to.
        """
        if distribute.is_chief(self.strategy):
            try:
                self.last = checkpoint_files.write(self._checkpoint, self.directory, int(self.step))
                checkpoint_files.prune(self.directory, self.keep)
            except (OSError, tf.errors.OpError) as error:
                raise Failed(
                    f"step {int(self.step)} can't be saved in {self.directory} ({checkpoint_files.first_line(error)}); "
                    f"the last checkpoint is {self.last or 'none yet'}, the same command goes on from there"
                ) from None
        distribute.barrier(self.strategy)

    def resume(self, prefix=None):
        """Restores `prefix`, or the newest whole checkpoint, and sets aside those that are newer and damaged; False where there is none.

        Raises:
            UserError: the checkpoint belongs to another network, or all are damaged.
        """
        newest = prefix is None
        prefix = prefix or self.latest()
        if prefix is None:
            return False
        try:
            reader = tf.train.load_checkpoint(prefix)
            parts = (("model", self.objective.variables), ("optimizer", self.optimizer.variables))
            weights.assign_values(
                reader,
                {
                    v.path: (weights.variable_key(part, v.path), v)
                    for part, variables in parts
                    for v in variables
                },
            )
            self.step.assign(reader.get_tensor("step" + weights.VALUE))
            for name, v in (
                ("seconds", self.seconds),
                ("skipped", self.skipped),
            ):  # not in the checkpoints of all versions
                key = name + weights.VALUE
                v.assign(reader.get_tensor(key) if reader.has_tensor(key) else 0)
        except checkpoint_files.UNREADABLE as error:
            raise UserError(
                f"checkpoint {prefix} can't be restored: {checkpoint_files.first_line(error)}; give the flags it was trained with, or another --model_dir"
            ) from None
        self.last = prefix
        if newest:
            distribute.barrier(self.strategy)  # all workers have chosen
            if distribute.is_chief(self.strategy):
                checkpoint_files.set_aside(self.directory, int(self.step))
        return True
