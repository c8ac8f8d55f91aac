"""A trained network without the data it was trained on: to export, embed, predict and teach with."""

import contextlib
import dataclasses

import keras
import numpy as np
import tensorflow as tf
from etils import epath

from tf_simclr import config
from tf_simclr.checkpoints.files import UNREADABLE, first_line
from tf_simclr.checkpoints.weights import Weights
from tf_simclr.config import Config, recipes
from tf_simclr.config.rules import has_weights_from_elsewhere
from tf_simclr.config.stages import relocated
from tf_simclr.errors import UserError
from tf_simclr.models.network import Network
from tf_simclr.objectives import objective_class
from tf_simclr.runs import files as run_files
from tf_simclr.runs.files import read_json

NETWORK = (
    "resnet_depth",
    "width_multiplier",
    "sk_ratio",
    "se_ratio",
    "proj_head_mode",
    "num_proj_layers",
    "ft_proj_selector",
)  # flags
CLOSE = {"rtol": 1e-3, "atol": 1e-3}


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A network (models.network.Network) and what it is of. `place`: its run directory, or the folder of its assets."""

    network: Network
    settings: Config
    class_names: tuple[str, ...]
    step: int
    place: epath.Path


def load(path, flag="checkpoint", settings=None):
    """The network at `path`, the value of `flag`: see `chain.CHECKPOINTS`.

    Args:
        settings: what network it is, for weights of the papers' code; those of this package say it themselves.

    Raises:
        UserError: there are no weights, or they are of another network than it should be, or nothing says of which.
    """
    found = Weights(path, flag)
    settings = _settings_of(found) or settings
    if settings is None:
        raise UserError(
            f"--{flag}={path}: there is no {run_files.CONFIG} beside the weights, so what network they are of is not known; "
            "give a run directory or a SavedModel; --mode=export with the flags of the network makes one of them"
        )
    network = _build(settings, found.num_classes)
    restore(found, network, network.variables)
    return Pretrained(
        network,
        settings,
        class_names_or_numbers(found.num_classes, saved_class_names(found.place)),
        found.step,
        found.place,
    )


def restore(found, network, variables):
    """As `Weights.restore`, and a look whether the network then gives what the SavedModel of the papers' code does.

    Its variables do not tell which layer of the projection head the linear layer reads.
    """
    found.restore(network, variables)
    if found.of_papers and found.saved_model:
        with expect_saved_model(f"--{found.flag}={found.path}", "logits_sup"):
            images = tf.random.stateless_uniform(
                [2, *2 * [network.settings.data.image_size], 3], [1, 2]
            )
            theirs, ours = (
                tf.saved_model.load(found.saved_model)(images, trainable=False),
                network(images),
            )
            if len(network.projection_head.norms) < network.projection_head.num_layers:
                del ours["proj_head_output"]  # fine-tuning drops the last layers
            different = [
                name
                for name in ours
                if name in theirs
                and not np.allclose(theirs[name], tf.cast(ours[name], tf.float32), **CLOSE)
            ]
        if different:
            layers = (
                f"; --ft_proj_selector={network.settings.model.ft_proj_selector} may be the wrong one"
                if "logits_sup" in different
                else ""
            )
            raise UserError(
                f"--{found.flag}={found.path}: the network of these flags gives another {', '.join(different)} than the SavedModel{layers}"
            )


def check_same_network(found, settings):
    """Raises UserError if weights of this package are of another network than `settings` say."""
    own = _settings_of(found)
    theirs, mine = (given.flat() for given in (own or settings, settings))
    different = [f"--{name}={theirs[name]}" for name in NETWORK if theirs[name] != mine[name]]
    if different:
        raise UserError(
            f"--{found.flag}={found.path}: it is another network than the flags say; give {' '.join(different)}"
        )


def _settings_of(found):
    """The configuration that is written beside weights of this package; None if there is none."""
    saved = None if found.of_papers else read_json(found.place / run_files.CONFIG)
    if saved is None:
        return None
    try:
        return config.build(saved)
    except (UserError, AttributeError) as error:
        raise UserError(
            f"{found.place / run_files.CONFIG}: it is not the configuration of a run ({error})"
        ) from None


def weights_path(settings, alone=True):
    """(path, flag) of the weights that `settings` ask to export or embed with: the run's own, or those of --checkpoint.

    Args:
        alone: whether it is a single run, not a stage of a chain, whose --checkpoint is what it has started from.
    """
    model_dir, checkpoint = settings.train.model_dir, settings.objective.checkpoint
    path = epath.Path(model_dir) / run_files.CONFIG
    saved = recipes.read(path) if path.exists() else {}
    trained_from = (
        relocated(saved, model_dir).get("checkpoint", "")
        if saved and not has_weights_from_elsewhere(saved)
        else None
    )
    if alone and checkpoint and checkpoint != trained_from:
        return checkpoint, "checkpoint"
    return model_dir, "model_dir"


def float32_copy(objective):
    """The network that an objective trains, in float32 and on this process alone, whatever it is trained in and on."""
    head = objective.supervised_head
    with _full_precision():
        network = _build(objective.settings, head.units if head is not None else 0)
    for mine, theirs in zip(network.exported_layers(), objective.exported_layers()):
        mine.set_weights(theirs.get_weights())
    return network


@contextlib.contextmanager
def expect_saved_model(name, output):
    """Where a SavedModel is loaded and tried: what goes wrong becomes a UserError about `name`, which should give `output`."""
    try:
        yield
    except (*UNREADABLE, OSError, AttributeError) as error:
        raise UserError(
            f"{name}: as a SavedModel it is not one whose call gives {output} ({first_line(error)}); "
            "give one of this package or of the papers' code"
        ) from None


def numbered_names(num_classes):
    """Names of classes that have none."""
    return tuple(map(str, range(num_classes)))


def class_names_or_numbers(num_classes, *known):
    """The first of the tuples of names `known` that has one for each class; the numbers if none has."""
    return next(
        (given for given in known if len(given) == num_classes), numbered_names(num_classes)
    )


def _build(settings, num_classes):
    network = Network(settings, num_classes, objective_class(settings).head_layers(settings))
    network.build_variables()
    return network


@contextlib.contextmanager
def _full_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def saved_class_names(place):
    """The names of the classes that are written down in `place` (see `Pretrained`), if any."""
    lines = (
        (place / run_files.CLASS_NAMES).read_text().splitlines()
        if (place / run_files.CLASS_NAMES).exists()
        else []
    )
    return tuple(lines or (read_json(place / run_files.DATA) or {}).get("class_names", ()))
