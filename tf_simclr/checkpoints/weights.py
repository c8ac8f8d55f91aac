"""Trained weights on disk, whoever wrote them.

Any variable that is not in a checkpoint is an error that names it.
"""

import collections
import os

import numpy as np
import tensorflow as tf
from absl import logging
from etils import epath

from tf_simclr.checkpoints import google_layers, google_simclr, storage
from tf_simclr.checkpoints.published_weights import local_path
from tf_simclr.checkpoints.storage import UNREADABLE
from tf_simclr.config.backbones import LAB, RESNET
from tf_simclr.config.inheritance import SAVED_MODEL_FILE
from tf_simclr.config.registry import foreign_weights
from tf_simclr.config.stages import CHECKPOINT_FORMS
from tf_simclr.errors import UserError, first_line
from tf_simclr.runs import files as run_files

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
MODEL_PREFIX = "model/"
# {--backbone: path of the kernels of its stem, by the number of the convolution}
STEM_KERNELS = {
    RESNET: "model/encoder/stem/conv{}/kernel",
    LAB: "model/encoder/lightness/stem/conv{}/kernel",
}
ESCAPED_SLASH = ".S"  # how TensorFlow writes a slash in a key of a dict
MUST_AGREE = "network and checkpoint must agree in backbone, depth, width, SK, SE and heads"
VARIABLES = os.path.join("variables", "variables")  # prefix of the checkpoint in a SavedModel


def variable_key(kind: str, path: str) -> str:
    """The checkpoint key of a variable in the dict `kind` ("model" or "optimizer")."""
    return f"{kind}/" + path.replace("/", ESCAPED_SLASH) + VALUE


def _path_of_key(key):
    return key.removeprefix(MODEL_PREFIX).removesuffix(VALUE).replace(ESCAPED_SLASH, "/")


def newest_checkpoint(path: str, flag: str = "checkpoint") -> str:
    """The prefix of the newest whole checkpoint that a path stands for.

    Args:
        path: a run directory, a directory of checkpoints, a prefix, or a SavedModel.
        flag: whose value it is, for the message.

    Raises:
        UserError: there is none.
    """
    location = str(path)
    if tf.io.gfile.exists(os.path.join(location, SAVED_MODEL_FILE)):
        location = os.path.join(location, VARIABLES)
    prefix = _newest_in_directory(location)
    if prefix is not None:
        return prefix
    if tf.io.gfile.glob(location + run_files.CHECKPOINT_INDEX):
        return location
    if not tf.io.gfile.exists(location):
        reason = "no such file or directory"
    elif foreign_weights(location):
        reason = f"it is {foreign_weights(location)}, which is not read"
    else:
        reason = "there is no checkpoint in it"
        runs = _runs_inside(location)
        if runs:
            reason += f", but in {', '.join(runs)}"
    raise UserError(f"--{flag}={path}: {reason}; give {CHECKPOINT_FORMS}")


def _runs_inside(path):
    """The directories in `path` that have a checkpoint, such as the stages of a chain."""
    names = tf.io.gfile.listdir(path) if tf.io.gfile.isdir(path) else []
    directories = [os.path.join(path, name.rstrip("/")) for name in names]
    return sorted(
        directory
        for directory in directories
        if tf.io.gfile.isdir(directory) and tf.train.latest_checkpoint(directory)
    )


def _newest_in_directory(path):
    """The newest checkpoint of a run, or of a directory that another program has written."""
    if not tf.io.gfile.isdir(path):
        return None
    return storage.newest(path) or tf.train.latest_checkpoint(path)


class Weights:
    """The variables of a network: a checkpoint or SavedModel.

    It may be of this package or of the original SimCLR release (Google Research's code).

    Args:
        path: see `newest_checkpoint`; or the name of a published model.
        flag: whose value it is, for messages.
        offline: whether published models are taken from the cache alone.

    Raises:
        UserError: there is no checkpoint, or a damaged one.
    """

    def __init__(self, path: str, flag: str = "checkpoint", offline: bool = False):
        self.path = path
        self.flag = flag
        self.prefix = newest_checkpoint(local_path(path, flag, offline), flag)
        self._google_layers = None  # of the original release
        try:
            storage.require_whole(self.prefix)
            self._reader = tf.train.load_checkpoint(self.prefix)
            self._shapes = self._reader.get_variable_to_shape_map()
            if not any(key.startswith("model/model.S") for key in self._shapes):
                self._google_layers = google_layers.read(self._reader)
        except UNREADABLE as error:
            raise self._unusable(error) from None

    @property
    def is_of_original_release(self) -> bool:
        """Whether it is of the original SimCLR release."""
        return self._google_layers is not None

    @property
    def saved_model(self) -> str | None:
        """Path of the SavedModel it is, None for a checkpoint."""
        if not self.prefix.endswith(VARIABLES):
            return None
        return os.path.dirname(os.path.dirname(self.prefix))

    @property
    def directory(self) -> epath.Path:
        """Where files beside the weights are: the run directory, or the assets of a SavedModel."""
        if self.saved_model:
            return epath.Path(self.saved_model) / run_files.ASSETS
        return epath.Path(self.prefix).parent

    @property
    def step(self) -> int:
        """Of the training, as the names of the files say; 0 if they do not."""
        if self.saved_model:
            number = os.path.basename(self.saved_model)
        else:
            number = self.prefix.rsplit("-", 1)[-1]
        return int(number) if number.isdigit() else 0

    @property
    def num_classes(self) -> int:
        """Outputs of the linear head; 0 if there is none."""
        if self._google_layers is not None:
            return google_simclr.num_classes(self._google_layers)
        bias_key = variable_key("model", "model/supervised_head/bias")
        return self._shapes.get(bias_key, [0])[0]

    @property
    def network_flags(self) -> str:
        """The network of weights of the original SimCLR release as flags; else empty."""
        if self._google_layers is None:
            return ""
        return google_simclr.flags(self._google_layers)

    @property
    def stems(self) -> dict[str, str]:
        """{--backbone: --stem} of its encoder; empty: it has no stem that is known."""
        if self._google_layers is not None:
            return {RESNET: google_simclr.stem(self._google_layers)}
        stems = {}
        for backbone, path in STEM_KERNELS.items():
            kernels = []
            while (key := variable_key("model", path.format(len(kernels)))) in self._shapes:
                kernels.append(self._shapes[key])
            if kernels:
                stems[backbone] = google_simclr.stem_of_kernels(kernels)
        return stems

    def restore(self, network, variables: list):
        """Gives variables the values that they have in the checkpoint.

        Args:
            network: `models.network.Network`.
            variables: of the network.

        Raises:
            UserError: a variable is missing or has another shape, or the checkpoint has a variable
                of the encoder, or of a layer that is restored, that the network does not have.
        """
        try:
            self._check_stem(network.settings)
            keys = self._keys(network, variables)
            assign_values(self._reader, {v.path: (keys.get(v.path), v) for v in variables})
        except UNREADABLE as error:
            raise self._unusable(error) from None

    def _check_stem(self, settings):
        stem = settings.resolved()["stem"]
        for backbone, saved_stem in self.stems.items():
            if backbone != settings.backbone:
                raise ValueError(
                    f"it is of --backbone={backbone}, and --backbone={settings.backbone} here"
                )
            if saved_stem != stem:
                raise ValueError(
                    f"the stem is {saved_stem} there and {stem} here "
                    f"(--image_size={settings.data.image_size}); give --stem={saved_stem}"
                )

    def _keys(self, network, variables):
        """{variable path: checkpoint key}."""
        if self._google_layers is not None:
            return google_simclr.keys(self._google_layers, network, variables)
        keys = {}
        for key in self._shapes:
            if key.startswith(MODEL_PREFIX):
                keys[_path_of_key(key)] = key
        network_paths = {v.path for v in network.variables}
        restored_layers = {_layer_of(v.path) for v in variables}
        unused = sorted(
            path
            for path in keys
            if path not in network_paths
            and (path.startswith("model/encoder/") or _layer_of(path) in restored_layers)
        )
        if unused:  # a deeper network, or one with gates, must not be loaded by halves either
            raise ValueError(
                f"{unused[0]} and {len(unused) - 1} more variables there have no place here; "
                f"{MUST_AGREE}"
            )
        return keys

    def _unusable(self, error):
        return UserError(
            f"--{self.flag}={self.path}: {self.prefix} can't be restored: {first_line(error)}"
        )


def _layer_of(path):
    return path.rpartition("/")[0]


def start_from(objective, weights: Weights, inherited: list):
    """Gives variables of an objective the values of weights; the log says which are new.

    Args:
        objective: that has the variables.
        weights: to restore from.
        inherited: the variables to restore.

    Raises:
        UserError: as `Weights`.
    """
    weights.restore(objective, inherited)
    inherited_ids = {id(v) for v in inherited}
    new = [v for v in objective.variables if id(v) not in inherited_ids]
    parts = collections.Counter("/".join(v.path.split("/")[:2]) for v in new)
    texts = [f"{part} ({count})" for part, count in parts.items()]
    logging.info(
        "started from %s: %d variables restored, new: %s",
        weights.prefix,
        len(inherited),
        ", ".join(texts) or "none",
    )


def assign_values(reader, variables: dict):
    """Gives variables the values of a checkpoint, after a look at all of them.

    Args:
        reader: of `tf.train.load_checkpoint`.
        variables: {path: (key or None, variable)}.

    Raises:
        ValueError: a variable is missing or has another shape; it names the first one.
    """
    shapes = reader.get_variable_to_shape_map()
    for path, (key, v) in variables.items():
        network_shape = tuple(v.shape)
        saved_shape = tuple(shapes[key]) if key in shapes else "missing"
        if saved_shape == (1, 1, *network_shape):  # a convolution that sees one pixel
            continue
        if network_shape != saved_shape:
            way_out = _way_out(path, saved_shape, network_shape)
            raise ValueError(f"{path} is {saved_shape} there and {network_shape} here; {way_out}")
    # All values are read before a variable changes.
    values = {path: reader.get_tensor(key) for path, (key, _) in variables.items()}
    for path, (_, v) in variables.items():
        v.assign(np.reshape(values[path], v.shape))


def _way_out(path, saved_shape, network_shape):
    """What to do where a variable has another shape."""
    if not path.endswith("supervised_head/kernel"):
        return MUST_AGREE
    if saved_shape[-1] == network_shape[-1]:  # as many classes
        return f"give another --ft_proj_selector, which layer the head reads, or {MUST_AGREE}"
    return (
        "these are other labels; learn them with --train_mode=finetune,distill --checkpoint=RUN "
        "--model_dir=NEW"
    )
