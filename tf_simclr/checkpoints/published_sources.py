"""Where published backbones are from: presets of keras-hub, their folders, .keras files."""

import importlib.util
import json
import textwrap
import urllib.parse
import zipfile

import keras
import yaml
from absl import logging
from etils import epath

from tf_simclr.config import backbones
from tf_simclr.errors import UserError, first_line
from tf_simclr.models.architecture import (
    IMAGE_SHAPE,
    INPUT_RANGES,
    KERAS_HUB,
    Architecture,
    uses_keras_hub,
)
from tf_simclr.models.published import not_usable

INSTALL = "pip install keras-hub"
CATALOG = "https://keras.io/keras_hub/presets"
WHITE = 255  # of the images that converters of keras-hub get
COLORS = 3
PRESET_CONFIG = "config.json"  # in a folder of save_to_preset
PRESET_METADATA = "metadata.json"
PRESET_README = "README.md"
CONFIG_IN_FILE = "config.json"  # in a .keras file
MAX_REASON = 120  # characters of an exception that are quoted
BUILD_KEYS = ("build_config", "compile_config")  # of a serialized layer: what made its variables


def require(flag: str, backbone: str):
    """Checks what can be known of a backbone before anything is built or downloaded.

    Args:
        flag: whose value it is.
        backbone: value of --backbone.

    Raises:
        UserError: keras-hub is needed and not installed, or the file can't be read.
    """
    source = backbones.source_of(backbone)
    what = f"--{flag}={backbone}"
    is_file = source.endswith(backbones.KERAS_FILE)
    if not is_file or uses_keras_hub(_config_in_file(what, source)):
        require_package(what)


def require_package(what: str):
    """Checks that keras-hub is installed.

    Args:
        what: needs it, a flag with its value.

    Raises:
        UserError: it is not.
    """
    if importlib.util.find_spec(KERAS_HUB) is None:
        raise UserError(f"{what}: keras-hub is not installed, which it needs; {INSTALL}")


def architecture_of(flag: str, backbone: str) -> Architecture:
    """The architecture of a published backbone, without its weights where that is possible.

    Args:
        flag: whose value it is.
        backbone: value of --backbone.

    Raises:
        UserError: it can't be had, or is no image backbone.
    """
    source = backbones.source_of(backbone)
    what = f"--{flag}={backbone}"
    name = backbones.name_of(backbone)
    if source.endswith(backbones.KERAS_FILE):
        model = _of_file(what, source)
        _check(what, model)
        return Architecture(name, _serialized(model), input_size=model.inputs[0].shape[1] or 0)
    model = _of_preset(what, source, load_weights=False)
    _check(what, model)
    config = _serialized(model)
    scale, offset, input_size = _input_of_preset(what, source)
    image_shape = config["config"].get(IMAGE_SHAPE) or [None]
    size = input_size or image_shape[0] or 0
    return Architecture(name, config, scale, offset, size, _license(source))


def published_model(
    flag: str, backbone: str, architecture: Architecture, image_size: int
) -> keras.Model:
    """The Keras model of a published backbone, with its weights.

    Args:
        flag: whose value it is.
        backbone: value of --backbone.
        architecture: of it.
        image_size: height and width of the images that it will see.

    Raises:
        UserError: it can't be had.
    """
    source = backbones.source_of(backbone)
    what = f"--{flag}={backbone}"
    if source.endswith(backbones.KERAS_FILE):
        return _of_file(what, source)
    if IMAGE_SHAPE not in architecture.config["config"]:
        return _of_preset(what, source)
    shape = (image_size, image_size, COLORS)
    made_for = architecture.input_size
    way_out = ""
    if made_for not in (0, image_size):
        what += f" with --image_size={image_size}"
        way_out = f"--image_size={made_for}, which it was made for, or "
    return _of_preset(what, source, way_out, image_shape=shape)


def _of_preset(what, source, way_out="", **options):
    import keras_hub

    try:
        return keras_hub.models.Backbone.from_preset(source, **options)
    except Exception as error:  # of networks, accounts, files, and whatever a backbone raises
        raise UserError(
            f"{what}: keras-hub can't load it ({_reason(error)}); give {way_out}a preset of "
            f"{CATALOG}, which is downloaded at its first use, or a folder of save_to_preset"
        ) from None


def _reason(error):
    """Why something can't be loaded, in a few words where a server does not answer."""
    from requests import exceptions  # what keras-hub downloads with

    if isinstance(error, (exceptions.ConnectionError, exceptions.Timeout)) and error.request:
        return f"{urllib.parse.urlsplit(error.request.url).hostname} can't be reached"
    return textwrap.shorten(first_line(error), MAX_REASON, placeholder=" ...")


def _of_file(what, source):
    if uses_keras_hub(_config_in_file(what, source)):
        import keras_hub  # noqa: F401  makes its classes known to Keras
    try:
        return keras.saving.load_model(source, compile=False)
    except Exception as error:  # whatever the layers in it raise
        raise UserError(f"{what}: Keras can't load it ({first_line(error)})") from None


def _config_in_file(what, source):
    """The configuration of the model in a .keras file."""
    try:
        with epath.Path(source).open("rb") as file, zipfile.ZipFile(file) as archive:
            return json.loads(archive.read(CONFIG_IN_FILE))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(
            f"{what}: it can't be read as a file of Keras ({reason}); give one of model.save"
        ) from None


def _check(what, model):
    reason = not_usable(model)
    if reason:
        raise UserError(f"{what}: it {reason}")


def _serialized(model):
    """The configuration of a model, without what only its variables were built from."""
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    return _without(config, BUILD_KEYS)


def _without(config, keys):
    if isinstance(config, list):
        return [_without(each, keys) for each in config]
    if isinstance(config, dict):
        return {key: _without(value, keys) for key, value in config.items() if key not in keys}
    return config


def _input_of_preset(what, source):
    """(scale, offset, image size or 0) of the image converter, for images in [0, 1]."""
    import keras_hub

    try:
        converter = keras_hub.layers.ImageConverter.from_preset(source)
    except (FileNotFoundError, ValueError):  # there is none in the preset, or of its kind
        converter = None
    if converter is None:
        logging.warning(
            "%s says nothing of the values that images should have: they go in as 0 to 1; if it "
            "was trained with others give --backbone_input",
            what,
        )
        return (*INPUT_RANGES["unit"], 0)
    scale = _of_colors(converter.scale, 1.0)
    offset = _of_colors(converter.offset, 0.0)
    size = converter.image_size
    return tuple(WHITE * factor for factor in scale), offset, size[0] if size else 0


def _of_colors(value, default):
    """A number for each color channel, of None, one number, or one for each."""
    if value is None:
        value = default
    if isinstance(value, (int, float)):
        return (float(value),) * COLORS
    return tuple(map(float, value))


def _license(source):
    """What a preset says of its license; empty: nothing."""
    import keras_hub

    folder = epath.Path(source)
    if (folder / PRESET_CONFIG).exists():
        metadata = folder / PRESET_METADATA
        saved = json.loads(metadata.read_text(encoding="utf-8")) if metadata.exists() else {}
        return str(saved.get("license") or _license_of_readme(folder / PRESET_README))
    presets = keras_hub.models.Backbone.presets
    return str(presets.get(source, {}).get("metadata", {}).get("license", ""))


def _license_of_readme(path):
    """That of the YAML header of a model card; empty: none."""
    parts = path.read_text(encoding="utf-8").split("---\n", 2) if path.exists() else []
    if len(parts) < 3 or parts[0]:
        return ""
    try:
        header = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return ""
    return header.get("license", "") if isinstance(header, dict) else ""
