"""A trained network without the data it was trained on: to export, embed, predict and teach with."""

import contextlib
import dataclasses
import os

import keras
import tensorflow as tf
from etils import epath

from tf_simclr import chain, config, flags
from tf_simclr.config import Config, UserError
from tf_simclr.models.network import Network
from tf_simclr.objectives import OBJECTIVES
from tf_simclr.run_directory import read_json
from tf_simclr.weights import Weights

DATA = "data.json"  # in a run directory: what it was trained on
CLASS_NAMES = "class_names.txt"  # in the assets of a SavedModel, a line for each class


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
        UserError: there are no weights, or they are of another network than `settings` say, or nothing says of which.
    """
    found = Weights(path, flag)
    exported = os.path.basename(found.prefix) == "variables"
    place = epath.Path(found.prefix).parent.parent / "assets" if exported else epath.Path(found.prefix).parent
    saved = read_json(place / flags.SAVED)
    settings = config.build(saved) if saved else settings
    if settings is None:
        raise UserError(f"--{flag}={path}: there is no {flags.SAVED} beside the weights, so what network they are of is not known; "
                        "give a run directory or a SavedModel; --mode=export with the flags of the network makes one of them")
    network = _build(settings, found.num_classes)
    found.restore(network, network.variables)
    number = place.parent.name if exported else found.prefix.rsplit("-", 1)[-1]
    return Pretrained(network, settings, names(place, found.num_classes), int(number) if number.isdigit() else 0, place)


def place_of(settings):
    """(path, flag) of the weights that `settings` ask to export or embed with: the run's own, or else those of --checkpoint."""
    model_dir, checkpoint = settings.train.model_dir, settings.objective.checkpoint
    if checkpoint and (checkpoint != _start_of(model_dir) or tf.train.latest_checkpoint(model_dir) is None):
        return checkpoint, "checkpoint"
    return model_dir, "model_dir"


def _start_of(model_dir):
    """The checkpoint that the run in `model_dir` has started from; empty if there is none."""
    saved = read_json(epath.Path(model_dir) / flags.SAVED)
    return chain.moved(saved, model_dir).get("checkpoint", "") if saved else ""


def copy_of(objective):
    """The network that an objective trains, in float32 and on this process alone, whatever it is trained in and on."""
    head = objective.supervised_head
    with _full_precision():
        network = _build(objective.settings, head.units if head is not None else 0)
    for mine, theirs in zip(network.parts(), objective.parts()):
        mine.set_weights(theirs.get_weights())
    return network


def numbered(num_classes):
    """Names of classes that have none."""
    return tuple(map(str, range(num_classes)))


def _build(settings, num_classes):
    network = Network(settings, num_classes, OBJECTIVES[settings.objective.train_mode].head_layers(settings))
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


def names(place, num_classes):
    """The names of the classes that are written down in `place` (see `Pretrained`), else their numbers."""
    lines = (place / CLASS_NAMES).read_text().splitlines() if (place / CLASS_NAMES).exists() else []
    found = tuple(lines or (read_json(place / DATA) or {}).get("class_names", ()))
    return found if len(found) == num_classes else numbered(num_classes)
