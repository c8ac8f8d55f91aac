"""What a published backbone is besides its weights, and which of them this process knows."""

import copy
import dataclasses
import math

import keras

from tf_simclr.errors import UserError

KERAS_HUB = "keras_hub"
POLICY = "DTypePolicy"
IMAGE_SHAPE = "image_shape"
# {--backbone_input: (factor, offset) of values in [0, 1], a color channel each}.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INPUT_RANGES = {
    "unit": ((1.0,) * 3, (0.0,) * 3),
    "signed": ((2.0,) * 3, (-1.0,) * 3),
    "imagenet": (
        tuple(1 / std for std in IMAGENET_STD),
        tuple(-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD)),
    ),
    "bytes": ((255.0,) * 3, (0.0,) * 3),
}

_known = {}  # {value of --backbone: Architecture}


@dataclasses.dataclass(frozen=True)
class Architecture:
    """All that it takes to build a published backbone without its preset.

    Attributes:
        name: of the preset, folder or file.
        config: of `keras.saving.serialize_keras_object`.
        scale: factor of each color channel of images in [0, 1].
        offset: what is added to it.
        input_size: height and width in pixels that it was made for; 0: not known.
        license: as the preset says; empty: it does not.
    """

    name: str
    config: dict
    scale: tuple[float, ...] = INPUT_RANGES["unit"][0]
    offset: tuple[float, ...] = INPUT_RANGES["unit"][1]
    input_size: int = 0
    license: str = ""

    @property
    def needs_keras_hub(self) -> bool:
        """Whether keras-hub has its layers."""
        return uses_keras_hub(self.config)

    @property
    def patch_size(self) -> int:
        """Side of the patches that a transformer cuts an image into; 1: none is known."""
        size = self.config["config"].get("patch_size", 1)
        sides = size if isinstance(size, (list, tuple)) else [size]
        return math.lcm(*map(int, sides))

    def as_json(self) -> dict:
        """The form in which it is saved, see `from_json`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, saved: dict) -> "Architecture":
        """An architecture from the form in which it is saved."""
        scale, offset = tuple(saved["scale"]), tuple(saved["offset"])
        return cls(**{**saved, "scale": scale, "offset": offset})

    def with_input(self, backbone_input: str) -> "Architecture":
        """The same for images with the values of --backbone_input."""
        if backbone_input not in INPUT_RANGES:
            return self
        scale, offset = INPUT_RANGES[backbone_input]
        return dataclasses.replace(self, scale=scale, offset=offset)

    def build(self, image_size: int) -> keras.Model:
        """The backbone with random weights, in the dtype policy that is set.

        Dropout and stochastic depth are off: what is random in a training follows from its seed
        and the step alone, whatever the replicas.

        Raises:
            ValueError: it can't be built, as where the image is too small for it.
        """
        if self.needs_keras_hub:
            import keras_hub  # noqa: F401  makes its classes known to Keras
        config = _prepared(copy.deepcopy(self.config))
        if IMAGE_SHAPE in config["config"]:
            config["config"][IMAGE_SHAPE] = [image_size, image_size, 3]
        return keras.saving.deserialize_keras_object(config)


def uses_keras_hub(config) -> bool:
    """Whether a class of keras-hub is anywhere in the configuration of a Keras model."""
    if isinstance(config, list):
        return any(map(uses_keras_hub, config))
    if not isinstance(config, dict):
        return False
    module = config.get("module") or ""
    is_of_package = isinstance(module, str) and module.split(".")[0] == KERAS_HUB
    return is_of_package or any(map(uses_keras_hub, config.values()))


def _prepared(config):
    """A serialized object without dropout, and with the dtype policy that is set."""
    if isinstance(config, list):
        return [_prepared(each) for each in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == POLICY:
        return {**config, "config": {"name": keras.config.dtype_policy().name}}
    is_dropout = "Dropout" in str(config.get("class_name"))
    prepared = {name: _prepared(value) for name, value in config.items()}
    for name, value in prepared.items():
        if "drop" in name and isinstance(value, float):
            prepared[name] = 0.0
    if is_dropout:
        prepared["config"]["rate"] = 0.0
    return prepared


def remember(backbone: str, architecture: Architecture):
    """Makes an architecture known to `of`.

    Args:
        backbone: value of --backbone.
        architecture: of it.

    Raises:
        UserError: another one is known by that name.
    """
    known = _known.setdefault(backbone, architecture)
    if known != architecture:
        raise UserError(
            f"--backbone={backbone}: two runs have different networks of that name; "
            "use one of them at a time"
        )


def of(backbone: str) -> Architecture | None:
    """The architecture of a value of --backbone; None: it is not known yet."""
    return _known.get(backbone)
