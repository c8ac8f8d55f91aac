"""A trained network without the data it was trained on: to export, embed, predict and teach."""

import contextlib
import dataclasses
import functools

import numpy as np
import tensorflow as tf
from absl import logging
from etils import epath

from tf_simclr import config
from tf_simclr.checkpoints import backbones
from tf_simclr.checkpoints.class_names import class_names_or_numbers, saved_class_names
from tf_simclr.checkpoints.storage import UNREADABLE
from tf_simclr.checkpoints.weights import Weights
from tf_simclr.config import Config, inheritance, recipes
from tf_simclr.config.backbones import RESNET_FLAGS
from tf_simclr.config.rules import has_weights_from_elsewhere
from tf_simclr.config.stage_directories import relocated
from tf_simclr.errors import UserError, first_line
from tf_simclr.models.layers import float32_policy
from tf_simclr.models.network import Network
from tf_simclr.runs import calibration
from tf_simclr.runs import files as run_files
from tf_simclr.runs.calibration import Calibration

NETWORK_FLAGS = (
    "backbone",
    "backbone_input",
    *RESNET_FLAGS,
    "proj_head_mode",
    "num_proj_layers",
    "ft_proj_selector",
)
# How far the outputs of an imported network may be from those of its SavedModel.
RELATIVE_TOLERANCE = 1e-3
ABSOLUTE_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A trained network.

    Attributes:
        network: in inference mode by default.
        settings: of its training.
        class_names: outputs of the linear head, empty without one.
        step: of the training.
        directory: its run directory, or the folder of its assets.
        has_other_preprocessing: whether images are brought to it in another way than in its
            training, so that what was measured there does not hold.
    """

    network: Network
    settings: Config
    class_names: tuple[str, ...]
    step: int
    directory: epath.Path
    has_other_preprocessing: bool = False

    @functools.cached_property
    def calibration(self) -> Calibration | None:
        """Of the classifier; None: there is none of these weights with this preprocessing.

        Raises:
            UserError: it can't be read.
        """
        if self.has_other_preprocessing or not self.class_names:
            return None
        return calibration.of_weights(self.directory, self.step)


def load(path: str, flag: str = "checkpoint", settings: Config | None = None) -> Pretrained:
    """Loads a trained network.

    Args:
        path: see `weights.Weights`.
        flag: whose value it is, for messages.
        settings: the preprocessing, and for weights of the original SimCLR release which network
            it is; None: both as the weights of this package say it themselves.

    Raises:
        UserError: there are no weights, they are of another network than it should be, or nothing
            says of which.
    """
    weights = Weights(path, flag, settings is not None and settings.train.offline)
    trained = _trained_settings(weights, settings)
    if trained is None:
        raise _unknown_network(weights)
    used = trained
    if settings is not None and settings.preprocessing != trained.preprocessing:
        used = _with_preprocessing(weights, trained, settings.preprocessing)
    backbones.prepare_saved(used.model.backbone, weights.directory)
    network = _build(used, weights.num_classes)
    restore(weights, network, network.variables)
    saved_names = saved_class_names(weights.directory)
    class_names = class_names_or_numbers(weights.num_classes, saved_names)
    return Pretrained(
        network,
        used,
        class_names,
        weights.step,
        weights.directory,
        has_other_preprocessing=used is not trained,
    )


def _trained_settings(weights, settings):
    """The configuration beside weights; `settings` if there is none. None: neither."""
    saved = _saved_settings(weights)
    if saved is None and settings is None and weights.is_of_original_release:
        flags = inheritance.saved_flags(weights.path)
        return config.build(flags) if flags else None
    return saved or settings


def _with_preprocessing(weights, trained, preprocessing):
    """The configuration of a network, used with another preprocessing; the log says so."""
    logging.warning(
        "--%s=%s was trained with %s, and is used with %s here; its metrics and calibration, which "
        "were measured with the former, are left out",
        weights.flag,
        weights.path,
        _in_words(trained.preprocessing),
        _in_words(preprocessing),
    )
    return trained.replace(
        stem=trained.resolved()["stem"],  # which may follow from the image size
        image_size=preprocessing.size,
        eval_crop=preprocessing.eval_crop,
        resizing=preprocessing.resizing,
    )


def _unknown_network(weights):
    """Where nothing says which network the weights are of."""
    flags = weights.network_flags or "the flags of the network"
    return UserError(
        f"--{weights.flag}={weights.path}: no {run_files.CONFIG} beside the weights says what "
        f"network they are of; give a run directory or a SavedModel; --mode=export with {flags} "
        "makes one of them"
    )


def _in_words(preprocessing):
    size, eval_crop, resizing = preprocessing
    return f"--image_size={size} --eval_crop={eval_crop} --resizing={resizing}"


def restore(weights: Weights, network: Network, variables: list):
    """Restores variables, and compares the outputs with those of an imported SavedModel.

    The variables of the original SimCLR release do not tell which layer of the projection head the
    linear layer reads.

    Args:
        weights: to restore from.
        network: to restore.
        variables: of the network.

    Raises:
        UserError: as `Weights.restore`, or the outputs differ.
    """
    weights.restore(network, variables)
    if not (weights.is_of_original_release and weights.saved_model):
        return
    name = f"--{weights.flag}={weights.path}"
    with expect_saved_model(name, "logits_sup"):
        different = _different_outputs(weights.saved_model, network)
    if different:
        hint = ""
        if "logits_sup" in different:
            selector = network.settings.model.ft_proj_selector
            hint = f"; --ft_proj_selector={selector} may be the wrong one"
        raise UserError(
            f"{name}: the network of these flags gives another {', '.join(different)} than the "
            f"SavedModel{hint}"
        )


def _different_outputs(saved_model, network):
    """The names of the outputs in which a network differs from a SavedModel."""
    size = network.settings.data.image_size
    images = tf.random.stateless_uniform([2, size, size, 3], [1, 2])
    expected = tf.saved_model.load(saved_model)(images, trainable=False)
    outputs = network(images)
    head = network.projection_head
    if not head.is_whole:
        del outputs["proj_head_output"]  # fine-tuning drops the last layers
    different = []
    for name, value in outputs.items():
        if name in expected and not np.allclose(
            expected[name],
            tf.cast(value, tf.float32),
            rtol=RELATIVE_TOLERANCE,
            atol=ABSOLUTE_TOLERANCE,
        ):
            different.append(name)
    return different


def check_same_network(weights: Weights, settings: Config, names: tuple[str, ...] = NETWORK_FLAGS):
    """Checks that weights of this package are of the network that `settings` describe.

    Args:
        weights: to check.
        settings: the whole configuration.
        names: of the flags that have to agree.

    Raises:
        UserError: they are of another one.
    """
    saved = (_saved_settings(weights) or settings).resolved()
    flags = settings.resolved()
    different = [f"--{name}={saved[name]}" for name in names if saved[name] != flags[name]]
    if different:
        raise UserError(
            f"--{weights.flag}={weights.path}: it is another network than the flags say; "
            f"give {' '.join(different)}"
        )


def _saved_settings(weights):
    """The configuration that is written beside weights of this package; None if there is none."""
    if weights.is_of_original_release:
        return None
    path = weights.directory / run_files.CONFIG
    saved = run_files.read_json(path)
    if saved is None:
        return None
    try:
        return config.build(config.completed(saved))
    except (UserError, AttributeError) as error:
        raise UserError(f"{path}: it is not the configuration of a run ({error})") from None


def weights_path(settings: Config, alone: bool = True) -> tuple[str, str]:
    """The weights to export or embed with: the run's own, or those of --checkpoint.

    Args:
        settings: the whole configuration.
        alone: whether it is a single run, not a stage of a chain, whose --checkpoint is what it
            has started from.

    Returns:
        (path, flag whose value it is).
    """
    model_dir, checkpoint = settings.train.model_dir, settings.objective.checkpoint
    path = epath.Path(model_dir) / run_files.CONFIG
    saved = recipes.read(path) if path.exists() else {}
    trained_from = None
    if saved and not has_weights_from_elsewhere(saved):
        trained_from = relocated(saved, model_dir).get("checkpoint", "")
    if alone and checkpoint and checkpoint != trained_from:
        return checkpoint, "checkpoint"
    return model_dir, "model_dir"


def float32_copy(objective) -> Network:
    """The network that an objective trains, in float32 and on this process alone."""
    head = objective.supervised_head
    with float32_policy():
        network = _build(objective.settings, head.units if head is not None else 0)
    for layer, trained in zip(network.exported_layers(), objective.exported_layers()):
        layer.set_weights(trained.get_weights())
    return network


@contextlib.contextmanager
def expect_saved_model(name: str, output: str):
    """Where a SavedModel is loaded and called.

    Args:
        name: of the SavedModel, for the message.
        output: what its call should return.

    Raises:
        UserError: it can't be loaded, or its call does not return that.
    """
    try:
        yield
    except (*UNREADABLE, OSError, AttributeError) as error:
        raise UserError(
            f"{name}: as a SavedModel it is not one whose call gives {output} "
            f"({first_line(error)}); give one of this package or of the original SimCLR release"
        ) from None


def _build(settings, num_classes):
    network = Network(settings, num_classes)
    network.build_variables()
    return network
