"""Published backbones of runs: known, saved, started from.

The architecture is kept beside the weights of a run, so that only its first start needs the preset.
"""

import tensorflow as tf
from etils import epath

from tf_simclr.checkpoints import published_sources
from tf_simclr.config import Config, backbones
from tf_simclr.config.inheritance import folder_of
from tf_simclr.config.sections import ModelConfig
from tf_simclr.errors import UserError, first_line
from tf_simclr.models import architecture as architectures
from tf_simclr.models.architecture import IMAGE_SHAPE, Architecture
from tf_simclr.models.network import FrozenNetwork
from tf_simclr.models.published import PublishedEncoder, check_size, features_of
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory

FLAG = "backbone"
BASELINES_FLAG = "baselines"
USUAL_SIZE = 224  # height and width that published networks see where they say nothing else


def require(settings: Config, directory: epath.Path):
    """Checks what can be known before anything is built, downloaded or read.

    Args:
        settings: the whole configuration.
        directory: of the run, which may have the architecture already.

    Raises:
        UserError: keras-hub is needed and not installed, or a file can't be read.
    """
    backbone = settings.model.backbone
    if backbones.is_published(backbone) and not _is_saved(settings, directory):
        published_sources.require(FLAG, backbone)
    for name in published_baselines(settings):
        published_sources.require(BASELINES_FLAG, name)


def _is_saved(settings, directory):
    return any(_saved(folder) for folder in _directories(settings, directory))


def prepare(settings: Config, directory: epath.Path):
    """Makes the architecture of the backbone known, and checks what it can see.

    Args:
        settings: the whole configuration.
        directory: of the run.

    Raises:
        UserError: one can't be had, or does not fit the images.
    """
    make_known(settings, directory)
    backbone = settings.model.backbone
    if backbones.is_published(backbone):
        check_size(architectures.of(backbone), settings.data.image_size)


def make_known(settings: Config, directory: epath.Path):
    """Makes the architecture of the backbone known; a preset is downloaded for it.

    Those of --baselines are looked at before a training, not where they may be evaluated already.

    Args:
        settings: the whole configuration.
        directory: of the run.

    Raises:
        UserError: one can't be had.
    """
    if settings.mode.trains:
        for name in published_baselines(settings):
            _architecture(BASELINES_FLAG, name)
    backbone = settings.model.backbone
    if not backbones.is_published(backbone):
        return
    is_known = any(read_saved(folder, backbone) for folder in _directories(settings, directory))
    if not is_known:
        _architecture(FLAG, backbone)


def prepare_saved(backbone: str, directory: epath.Path):
    """Makes the architecture of trained weights known.

    Args:
        backbone: value of --backbone of their training.
        directory: where they are.

    Raises:
        UserError: it can't be had.
    """
    if backbones.is_published(backbone) and not read_saved(directory, backbone):
        published_sources.require(FLAG, backbone)
        _architecture(FLAG, backbone)


def check_replicas(encoder, settings: Config, strategy: tf.distribute.Strategy):
    """Checks that the statistics of batch norm are the same on all replicas.

    Args:
        encoder: of the network.
        settings: the whole configuration.
        strategy: with the replicas.

    Raises:
        UserError: those of a published backbone would not be.
    """
    is_published = isinstance(encoder, PublishedEncoder)
    is_alone = settings.model.global_bn or strategy.num_replicas_in_sync == 1
    if is_published and encoder.has_batch_norm and not is_alone:
        raise UserError(
            f"--global_bn=False: the batch norm of --{FLAG}={settings.model.backbone} would keep "
            f"other statistics on each of {strategy.num_replicas_in_sync} replicas; leave it out"
        )


def _directories(settings, directory):
    """Where the architecture may be saved: in the run, then beside what it starts from."""
    checkpoint = settings.objective.checkpoint
    return [directory, *([folder_of(checkpoint)] if checkpoint else [])]


def _saved(directory):
    return run_files.read_json(epath.Path(directory) / run_files.BACKBONE)


def read_saved(directory: epath.Path, backbone: str) -> bool:
    """Makes the architecture known that is saved beside weights.

    Args:
        directory: of a run, or assets.
        backbone: the value of --backbone there.

    Returns:
        Whether there is one.

    Raises:
        UserError: it can't be read, or keras-hub is needed and not installed.
    """
    saved = _saved(directory)
    if saved is None:
        return False
    path = epath.Path(directory) / run_files.BACKBONE
    try:
        architecture = Architecture.from_json(saved)
        needs_package = architecture.needs_keras_hub
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: it is not the architecture of a backbone ({error})") from None
    if needs_package:
        published_sources.require_package(f"--{FLAG}={backbone}")
    architectures.remember(backbone, architecture)
    return True


def description(model: ModelConfig) -> dict | None:
    """The content of `backbone.json`; None of the ResNet."""
    if not backbones.is_published(model.backbone):
        return None
    return architectures.of(model.backbone).as_json()


def write(directory: RunDirectory, model: ModelConfig):
    """Writes `backbone.json` into a run directory; nothing of the ResNet."""
    architecture = description(model)
    if architecture is not None:
        directory.write(run_files.BACKBONE, architecture)


def initialize(encoder: PublishedEncoder, backbone: str):
    """Gives the encoder of a new training the published weights.

    Args:
        encoder: with random weights.
        backbone: value of --backbone.

    Raises:
        UserError: they can't be had, or do not fit.
    """
    architecture, size = encoder.architecture, encoder.image_size
    model = published_sources.published_model(FLAG, backbone, architecture, size)
    _copy_weights(FLAG, backbone, encoder, model)


def published_baselines(settings: Config) -> list[str]:
    """The published networks of --baselines, where something is evaluated."""
    if not settings.mode.evaluates:
        return []
    return [name for name in settings.baselines if backbones.is_published(name)]


def load_frozen(
    backbone: str, image_size: int, strategy: tf.distribute.Strategy, flag: str = BASELINES_FLAG
) -> FrozenNetwork:
    """A published network with its weights, as a baseline or a teacher.

    Args:
        backbone: as a value of --backbone.
        image_size: height and width of the images of the run. The network may see larger ones:
            those that it was made for.
        strategy: of its variables.
        flag: whose value it is, for messages.

    Raises:
        UserError: it can't be had.
    """
    architecture = _architecture(flag, backbone)
    size = fitting_size(architecture, image_size)
    made_for = architecture.input_size or size
    try:
        model = published_sources.published_model(flag, backbone, architecture, size)
    except UserError:
        if size == made_for:
            raise
        size = made_for  # whose position embeddings are of that size alone
        model = published_sources.published_model(flag, backbone, architecture, size)
    with strategy.scope():
        encoder = PublishedEncoder(architecture, size, scope="published/encoder")
    _copy_weights(flag, backbone, encoder, model)
    return FrozenNetwork(encoder)


def fitting_size(architecture: Architecture, image_size: int) -> int:
    """The image size at which a frozen network sees the images of a run.

    Smaller ones are enlarged to what it was made for, at most 224 pixels: of patches of 14 pixels
    there would be four in an image of CIFAR.
    """
    if IMAGE_SHAPE not in architecture.config["config"]:
        return architecture.input_size or image_size
    made_for = min(architecture.input_size or USUAL_SIZE, USUAL_SIZE)
    size = max(image_size, made_for)
    return size - size % architecture.patch_size


def _architecture(flag, backbone):
    if architectures.of(backbone) is None:
        architecture = published_sources.architecture_of(flag, backbone)
        architectures.remember(backbone, architecture)
    return architectures.of(backbone)


def _copy_weights(flag, backbone, encoder, model):
    try:
        # Of the same graph the layers come in the same order.
        encoder.features.set_weights(features_of(model).get_weights())
    except ValueError as error:
        raise UserError(
            f"--{flag}={backbone}: its weights do not fit --image_size={encoder.image_size} "
            f"({first_line(error)}); give the size that they were trained with"
        ) from None
