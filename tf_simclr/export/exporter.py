"""Exports that load anywhere, without this package. Nothing of augmentation is inside."""

import functools
import os

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr import distribute
from tf_simclr.checkpoints import pretrained
from tf_simclr.checkpoints.files import first_line
from tf_simclr.data import augment
from tf_simclr.errors import write_error
from tf_simclr.export import formats, model_card, saved_model
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.runs.files import read_json

ASSETS = "assets"
NUM_IMAGES = 32  # on which other formats are compared with the SavedModel


def export(network, about, directory, options, images=None):
    """Writes `directory`/saved_model/<step>, and tflite/<step> and onnx/<step> if they are asked for.

    Args:
        network: models.network.Network, float32. about: `card.About`. directory: `epath.Path` of a run.
        options: the export section of the configuration; of each format the `keep_hub_module_max` newest are kept, 0 keeps all.
        images: a function that gives float32 [N, S, S, 3] to compare the formats on; None: pieces of two photographs.

    Raises:
        Failed: a format can't be written, or gives something else.
        UserError: the directory can't be written to.
    """

    def write_saved_model(path):
        saved_model.write(network, about, path, options.serving_max_pixels)
        (path / ASSETS).mkdir(parents=True, exist_ok=True)
        for name, text in model_card.asset_files(about).items():
            (path / ASSETS / name).write_text(text)

    path = _replace(
        directory / "saved_model", about.step, options.keep_hub_module_max, write_saved_model
    )
    others = [name for name in options.export_formats if name != "saved_model"]
    if others:
        images = images() if images else sample_images(about.settings.data.image_size)
    for name in others:
        _replace(
            directory / name,
            about.step,
            options.keep_hub_module_max,
            functools.partial(formats.write, name, network, path, images),
        )


def export_run(settings, alone=True):
    """Exports the newest checkpoint of a run, or what --checkpoint names into a run directory of its own, as step 0.

    Args:
        alone: whether it is a single run, not a stage of a chain.

    Raises:
        UserError: there are no weights, or the run directory has others, or a converter is not installed. Also as `export`.
    """
    formats.require(settings.export.export_formats)
    strategy = distribute.get_strategy(settings.hardware)
    path, flag = pretrained.weights_path(settings, alone)
    directory = RunDirectory(settings.train.model_dir, settings if flag == "checkpoint" else None)
    model = pretrained.load(path, flag, settings)
    step, places = model.step, [model.place]
    if flag == "checkpoint":
        step, places = 0, [directory.path, model.place]  # it may have been evaluated here
    if distribute.is_chief(strategy):
        if flag == "checkpoint":
            directory.create()
            directory.commit()
        names = pretrained.class_names_or_numbers(
            len(model.class_names), *map(pretrained.saved_class_names, places)
        )
        figures, data = {}, {}
        for place in reversed(places):
            figures = read_json(place / f"result_{step}.json") or figures
            data = read_json(place / run_files.DATA) or data
        export(
            model.network,
            model_card.ModelDescription(model.settings, names, step, figures, data),
            directory.path,
            settings.export,
        )
    distribute.barrier(strategy)


def _replace(directory, step, keep, write):
    """`directory`/<step>, written by `write(path)` beside its place and moved there when it is whole; older ones go."""
    path, partial = directory / str(step), directory / f"partial-{step}-{os.getpid()}"
    try:
        partial.mkdir(parents=True, exist_ok=True)
        write(partial)
        if path.exists():  # only now that there is a whole new one
            path.rmtree()
        partial.rename(path)
        others = sorted(
            (p for p in directory.iterdir() if p.name.isdigit() and p != path),
            key=lambda p: int(p.name),
        )
        for old in others[: max(len(others) + 1 - keep, 0)] if keep else []:
            old.rmtree()
    except (OSError, tf.errors.OpError) as error:
        raise write_error(f"{path}: it can't be written ({first_line(error)})", error) from None
    finally:
        if partial.exists():
            partial.rmtree()
    logging.info("exported %s", path)
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
        pieces.append(augment.eval_image(photo[top : top + side, left : left + side], size).numpy())
    return np.stack(pieces)
