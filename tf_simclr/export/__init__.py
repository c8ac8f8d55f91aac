"""Exports that load anywhere, without this package. Nothing of augmentation is inside."""

import functools
import json
import os

import numpy as np
import tensorflow as tf
from absl import logging
from etils import epath

from tf_simclr import flags, pretrained
from tf_simclr.config import UserError
from tf_simclr.data import augment
from tf_simclr.export import card, formats, saved_model
from tf_simclr.run_directory import read_json

ASSETS = "assets"
NUM_IMAGES = 32  # on which other formats are compared with the SavedModel


def export(network, about, directory, options, images=None):
    """Writes `directory`/saved_model/<step>, and tflite/<step> and onnx/<step> if they are asked for.

    Args:
        network: models.network.Network, float32. about: `card.About`. directory: `epath.Path` of a run.
        options: the export section of the configuration; all but the newest `keep_hub_module_max` of a format are removed, 0 keeps all.
        images: float32 [N, S, S, 3] to compare the formats on; None: pieces of two photographs.
    """

    def write_saved_model(path):
        saved_model.write(network, about, path, options.serving_max_pixels)
        (path / ASSETS).mkdir(parents=True, exist_ok=True)
        (path / ASSETS / "model_card.md").write_text(card.markdown(about))
        (path / ASSETS / flags.SAVED).write_text(json.dumps(card.network_flags(about.settings), indent=2) + "\n")
        if about.class_names:
            (path / ASSETS / pretrained.CLASS_NAMES).write_text("\n".join(about.class_names) + "\n")

    path = _replace(directory / "saved_model", about.step, options.keep_hub_module_max, write_saved_model)
    others = [name for name in options.export_formats if name != "saved_model"]
    if others and images is None:
        images = sample_images(about.settings.data.image_size)
    for name in others:
        _replace(directory / name, about.step, options.keep_hub_module_max, functools.partial(formats.write, name, network, path, images))


def export_run(settings):
    """Exports the newest checkpoint of a run, or what --checkpoint names into a run directory of its own.

    Raises:
        UserError: there are no weights, or the run directory has others, or a converter is not installed.
    """
    formats.require(settings.export.export_formats)
    path, flag = pretrained.place_of(settings)
    directory = epath.Path(settings.train.model_dir)
    if flag != "model_dir" and tf.train.latest_checkpoint(str(directory)):
        raise UserError(f"--model_dir={directory}: it holds a run of its own, and its exports; give another --model_dir for those of --{flag}={path}")
    model = pretrained.load(path, flag, settings)
    figures, data = (read_json(model.place / name) or {} for name in (f"result_{model.step}.json", pretrained.DATA))
    export(model.network, card.About(model.settings, model.class_names, model.step, figures, data), directory, settings.export)


def _replace(directory, step, keep, write):
    """`directory`/<step>, written by `write(path)` beside its place and moved there when it is whole; older ones go."""
    path, partial = directory / str(step), directory / f"partial-{step}-{os.getpid()}"
    partial.mkdir(parents=True, exist_ok=True)
    try:
        write(partial)
    except BaseException:
        partial.rmtree()
        raise
    if path.exists():  # only now that there is a whole new one
        path.rmtree()
    partial.rename(path)
    logging.info("exported %s", path)
    versions = sorted((p for p in directory.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    for old in versions[:-keep] if keep else []:
        old.rmtree()
    return path


def sample_images(size):
    """float32 [NUM_IMAGES, size, size, 3]: pieces of the two photographs that scikit-learn has."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    pieces = []
    for index in range(NUM_IMAGES):
        photo = load_sample_images().images[index % 2]  # uint8 [427, 640, 3]
        side = int(rng.integers(100, 400))
        top, left = (int(rng.integers(0, length - side)) for length in photo.shape[:2])
        pieces.append(augment.eval_image(photo[top:top + side, left:left + side], size).numpy())
    return np.stack(pieces)
