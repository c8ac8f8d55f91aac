"""Checkpoints of a training: saving and resuming."""

import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.checkpoints import storage, weights
from tf_simclr.errors import Failed, UserError, first_line


class Checkpointer:
    """Checkpoints of (objective, optimizer, step) in one directory, by the paths of the variables.

    They hold a dict of variables instead of the Keras objects: TensorFlow does not see Keras layers
    that are held in lists, and loses them without an error.

    Args:
        directory: of the run.
        objective: network and loss, with all variables built.
        optimizer: built for the objective.
        strategy: which process is the chief.
        keep: newest checkpoints that are kept; 0 or None: all.

    Attributes:
        step: int64 variable, of the training.
        seconds: float64 variable, of training over all starts.
        skipped: int64 variable, steps that were left out.
        last: prefix of what was last saved or restored, or None.
    """

    def __init__(self, directory, objective, optimizer, strategy, keep: int | None = None):
        self.objective = objective
        self.optimizer = optimizer
        self.strategy = strategy
        self.directory = str(directory)
        self.keep = keep or None
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="seconds")
        self.skipped = tf.Variable(0, dtype=tf.int64, trainable=False, name="skipped")
        self.last = None
        self._checkpoint = tf.train.Checkpoint(
            model={v.path: v.value for v in objective.variables},
            optimizer={v.path: v.value for v in optimizer.variables},
            step=self.step,
            seconds=self.seconds,
            skipped=self.skipped,
        )

    def latest(self) -> str | None:
        """Prefix of the newest whole checkpoint, or None.

        Raises:
            UserError: all are damaged.
        """
        return storage.newest(self.directory)

    def save(self):
        """Writes a checkpoint of the current step, on the chief; the other workers wait.

        Raises:
            Failed: the directory can't be written to.
        """
        if distribute.is_chief(self.strategy):
            step = int(self.step)
            try:
                self.last = storage.write(self._checkpoint, self.directory, step)
                storage.prune(self.directory, self.keep)
            except (OSError, tf.errors.OpError) as error:
                raise Failed(
                    f"step {step} can't be saved in {self.directory} "
                    f"({first_line(error)}); the last checkpoint is "
                    f"{self.last or 'none yet'}, run the same command again to resume from there"
                ) from None
        distribute.barrier(self.strategy)

    def resume(self, prefix: str | None = None) -> bool:
        """Restores a checkpoint.

        Args:
            prefix: which one; None: the newest whole one, and newer ones, which are damaged, are
                set aside.

        Returns:
            False where there is none.

        Raises:
            UserError: the checkpoint belongs to another network, or all are damaged.
        """
        sets_aside = prefix is None
        prefix = prefix or self.latest()
        if prefix is None:
            return False
        try:
            self._restore(prefix)
        except storage.UNREADABLE as error:
            raise UserError(
                f"checkpoint {prefix} can't be restored: {first_line(error)}; "
                "give the flags it was trained with, or another --model_dir"
            ) from None
        self.last = prefix
        if sets_aside:
            distribute.barrier(self.strategy)  # all workers have chosen
            if distribute.is_chief(self.strategy):
                storage.set_aside(self.directory, int(self.step))
        return True

    def _restore(self, prefix):
        reader = tf.train.load_checkpoint(prefix)
        variables = {}
        for kind, kind_variables in (
            ("model", self.objective.variables),
            ("optimizer", self.optimizer.variables),
        ):
            for v in kind_variables:
                variables[v.path] = weights.variable_key(kind, v.path), v
        # These, and two numbers below, are not in the checkpoints of all versions.
        for v in self.objective.later_variables:
            key, _ = variables[v.path]
            if not reader.has_tensor(key):
                del variables[v.path]
        weights.assign_values(reader, variables)
        self.step.assign(reader.get_tensor("step" + weights.VALUE))
        for name, v in (("seconds", self.seconds), ("skipped", self.skipped)):
            key = name + weights.VALUE
            v.assign(reader.get_tensor(key) if reader.has_tensor(key) else 0)
