"""Trained weights on disk, whoever wrote them. Any variable that is not found is an error that names it."""

import os

import tensorflow as tf
from absl import logging
from etils import epath

from tf_simclr.checkpoints import files as checkpoint_files
from tf_simclr.checkpoints import google_simclr
from tf_simclr.checkpoints.files import UNREADABLE, first_line
from tf_simclr.config.stages import CHECKPOINT_FORMS
from tf_simclr.errors import UserError

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_AGREE = "network and checkpoint must agree in depth, width, SK, SE and heads"


def variable_key(part, path):
    """The checkpoint key of a variable in the dict `part`."""
    return (
        f"{part}/" + path.replace("/", ".S") + VALUE
    )  # how TensorFlow writes a dict key that has slashes


def _path_of(key):
    return key.removeprefix("model/").removesuffix(VALUE).replace(".S", "/")


def newest_checkpoint(path, flag="checkpoint"):
    """The newest whole checkpoint that `path` stands for, its prefix: see `chain.CHECKPOINTS`."""
    place = str(path)
    if tf.io.gfile.exists(os.path.join(place, "saved_model.pb")):
        place = os.path.join(place, "variables", "variables")
    found = _newest_in(place)
    if found is None and tf.io.gfile.glob(place + ".index"):
        found = place
    if found is None:
        inside = _runs_inside(place)
        reason = (
            "no such file or directory"
            if not tf.io.gfile.exists(place)
            else "there is no checkpoint in it"
            + (f", but in {', '.join(inside)}" if inside else "")
        )
        raise UserError(f"--{flag}={path}: {reason}; give {CHECKPOINT_FORMS}")
    return found


def _runs_inside(path):
    """The directories in `path` that have a checkpoint, such as the stages of a chain."""
    names = tf.io.gfile.listdir(path) if tf.io.gfile.isdir(path) else []
    places = [os.path.join(path, name.rstrip("/")) for name in names]
    return sorted(
        place for place in places if tf.io.gfile.isdir(place) and tf.train.latest_checkpoint(place)
    )


def _newest_in(place):
    """The newest checkpoint of a run, or of a directory that something else has written, or None."""
    if not tf.io.gfile.isdir(place):
        return None
    return checkpoint_files.newest(place) or tf.train.latest_checkpoint(place)


class Weights:
    """The variables of a network at `path`, the value of `flag`: a checkpoint or SavedModel, of this package or of the papers' code.

    Raises:
        UserError: there is no checkpoint, or a damaged one.
    """

    def __init__(self, path, flag="checkpoint"):
        self.path, self.flag, self.prefix = path, flag, newest_checkpoint(path, flag)
        try:
            checkpoint_files.require_whole(self.prefix)
            self._reader = tf.train.load_checkpoint(self.prefix)
            self._shapes = self._reader.get_variable_to_shape_map()
            self._layers = (
                None
                if any(key.startswith("model/model.S") for key in self._shapes)
                else google_simclr.read(self._reader)
            )
        except UNREADABLE as error:
            raise self._unusable(error) from None

    @property
    def of_papers(self):
        """Whether it is of the papers' code."""
        return self._layers is not None

    @property
    def saved_model(self):
        """Path of the SavedModel it is, None for a checkpoint."""
        return (
            os.path.dirname(os.path.dirname(self.prefix))
            if self.prefix.endswith(os.path.join("variables", "variables"))
            else None
        )

    @property
    def place(self):
        """`epath.Path` where files beside the weights are: the run directory, or the assets of a SavedModel."""
        return (
            epath.Path(self.saved_model) / "assets"
            if self.saved_model
            else epath.Path(self.prefix).parent
        )

    @property
    def step(self):
        """Of the training, as the names of the files say; 0 if they do not."""
        number = (
            os.path.basename(self.saved_model)
            if self.saved_model
            else self.prefix.rsplit("-", 1)[-1]
        )
        return int(number) if number.isdigit() else 0

    @property
    def num_classes(self):
        """Outputs of the linear head; 0 if there is none."""
        if self._layers is not None:
            return google_simclr.num_classes(self._layers)
        return self._shapes.get(variable_key("model", "model/supervised_head/bias"), [0])[0]

    def restore(self, network, variables):
        """Gives `variables` of `network` (models.network.Network) the values they have here.

        Raises:
            UserError: a variable that is missing or has another shape, or one of the encoder here that has no place there.
        """
        try:
            keys = self._keys(network)
            assign_values(self._reader, {v.path: (keys.get(v.path), v) for v in variables})
        except UNREADABLE as error:
            raise self._unusable(error) from None

    def _keys(self, network):
        """{variable path: checkpoint key}."""
        if self._layers is not None:
            return google_simclr.keys(self._layers, network)
        keys = {_path_of(key): key for key in self._shapes if key.startswith("model/")}
        own = {v.path for v in network.variables}
        left = sorted(
            path for path in keys if path.startswith("model/encoder/") and path not in own
        )
        if left:  # a deeper network, or one with gates, must not be loaded by halves either
            raise ValueError(
                f"{left[0]} and {len(left) - 1} more variables there have no place here; {_AGREE}"
            )
        return keys

    def _unusable(self, error):
        return UserError(
            f"--{self.flag}={self.path}: {self.prefix} can't be restored: {first_line(error)}"
        )


def initialize_from(objective, path):
    """Gives `objective.inherited()` the values they have in the checkpoint at `path`. Raises as `Weights`."""
    found, inherited = Weights(path), objective.inherited()
    found.restore(objective, inherited)
    own = {id(v) for v in inherited}
    new = [v.path for v in objective.variables if id(v) not in own]
    logging.info(
        "started from %s: %d variables restored, new: %s",
        found.prefix,
        len(inherited),
        ", ".join(new) or "none",
    )


def assign_values(reader, variables):
    """Gives `variables` {path: (key, variable)} their values, after a look at all of them; ValueError names the first that is missing."""
    shapes = reader.get_variable_to_shape_map()
    for path, (key, v) in variables.items():
        mine, theirs = tuple(v.shape), tuple(shapes[key]) if key in shapes else "missing"
        if mine != theirs:
            raise ValueError(f"{path} is {theirs} there and {mine} here; {_AGREE}")
    values = {
        path: reader.get_tensor(key) for path, (key, _) in variables.items()
    }  # all are read before one is changed
    for path, (_, v) in variables.items():
        v.assign(values[path])
