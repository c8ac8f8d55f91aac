"""Saving, resuming, and starting from another run. Any variable that is not found is an error that names it."""

import functools
import os

import tensorflow as tf
from absl import logging

from tf_simclr import chain, distribute
from tf_simclr.config import UserError

PREFIX = "ckpt"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_ENCODER = "model/model.Sencoder.S"  # how the keys of the encoder's variables begin
_AGREE = "network and checkpoint must agree in depth, width, SK, SE and heads"
_DAMAGED = (tf.errors.OpError, ValueError, IndexError, RuntimeError)  # what TensorFlow raises for a file that is not whole


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
                raise UserError(f"step {int(self.step)} can't be saved in {self.directory} ({_first_line(error)}); "
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
            _read(reader, {_key(part, v.path): v for part, variables in parts for v in variables})
            self.step.assign(reader.get_tensor("step" + _VALUE))
            seconds = "seconds" + _VALUE  # not in the checkpoints of version 0.1.0
            self.seconds.assign(reader.get_tensor(seconds) if reader.has_tensor(seconds) else 0.0)
        except _DAMAGED as error:
            others = [path for path in self._manager.checkpoints if path != prefix]
            raise UserError(f"checkpoint {prefix} can't be restored: {_first_line(error)}; start from another one "
                            f"in a new --model_dir with --checkpoint={others[-1] if others else 'PREFIX'}") from None
        return True


def latest_in(path, flag="checkpoint"):
    """The newest checkpoint prefix that `path` (a run directory, a directory of checkpoints, a prefix) stands for."""
    found = tf.train.latest_checkpoint(str(path)) if tf.io.gfile.isdir(str(path)) else None
    if found is None and tf.io.gfile.glob(str(path) + ".index"):
        found = str(path)
    if found is None:
        inside = _runs_inside(path)
        reason = "no such file or directory" if not tf.io.gfile.exists(str(path)) else "there is no checkpoint in it" + (f", but in {', '.join(inside)}" if inside else "")
        raise UserError(f"--{flag}={path}: {reason}; give {chain.CHECKPOINTS}")
    return found


def _runs_inside(path):
    """The directories in `path` that have a checkpoint, such as the stages of a chain."""
    names = tf.io.gfile.listdir(str(path)) if tf.io.gfile.isdir(str(path)) else []
    places = [os.path.join(str(path), name.rstrip("/")) for name in names]
    return sorted(place for place in places if tf.io.gfile.isdir(place) and tf.train.latest_checkpoint(place))


def initialise(objective, path):
    """Gives `objective.inherited()` the values they have in the checkpoint at `path`. Raises as `restore`."""
    inherited = objective.inherited()
    prefix = restore(inherited, path, "checkpoint")
    own = {id(v) for v in inherited}
    new = [v.path for v in objective.variables if id(v) not in own]
    logging.info("started from %s: %d variables restored, new: %s", prefix, len(inherited), ", ".join(new) or "none")


def restore(variables, path, flag):
    """Gives an encoder's and other `variables` the values they have in the checkpoint at `path`, the value of `flag`.

    Returns:
        The checkpoint's prefix.

    Raises:
        UserError: no checkpoint, a damaged one, a variable that is missing or has another shape, or one of its encoder that is left over.
    """
    prefix = latest_in(path, flag)
    try:
        reader, wanted = tf.train.load_checkpoint(prefix), {_key("model", v.path): v for v in variables}
        left = sorted(key for key in reader.get_variable_to_shape_map() if key.startswith(_ENCODER) and key not in wanted)
        if left:  # a deeper network, or one with gates, must not be loaded by halves either
            name = left[0].removesuffix(_VALUE).removeprefix("model/").replace(".S", "/")
            raise ValueError(f"{name} and {len(left) - 1} more variables there have no place here; {_AGREE}")
        _read(reader, wanted)
    except _DAMAGED as error:
        raise UserError(f"--{flag}={path}: {prefix} can't be restored: {_first_line(error)}") from None
    return prefix


def shape_of(variable_path, prefix):
    """The shape that a variable of the model has in a checkpoint, None if it is not there."""
    try:
        return tf.train.load_checkpoint(prefix).get_variable_to_shape_map().get(_key("model", variable_path))
    except _DAMAGED as error:
        raise UserError(f"{prefix} can't be read: {_first_line(error)}") from None


def _read(reader, variables):
    """Gives `variables` {key: variable} their values, after a look at all of them; ValueError names the first that is missing."""
    shapes = reader.get_variable_to_shape_map()
    for key, v in variables.items():
        mine, theirs = tuple(v.shape), tuple(shapes[key]) if key in shapes else "missing"
        if mine != theirs:
            raise ValueError(f"{v.path} is {theirs} there and {mine} here; {_AGREE}")
    values = {key: reader.get_tensor(key) for key in variables}  # all are read before one is changed
    for key, v in variables.items():
        v.assign(values[key])


def _key(part, path):
    return f"{part}/" + path.replace("/", ".S") + _VALUE  # how TensorFlow writes a dict key that has slashes


def _first_line(error):
    return (str(getattr(error, "message", error)).strip().splitlines() or [type(error).__name__])[0]
