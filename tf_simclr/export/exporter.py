"""Writes exports that load anywhere, without this package. Nothing of augmentation is inside."""

import functools
import os
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import logging
from etils import epath

from tf_simclr.config.evaluation_sections import ExportConfig
from tf_simclr.data import augment
from tf_simclr.errors import first_line, write_error
from tf_simclr.export import formats, model_card, saved_model
from tf_simclr.export.model_card import ModelDescription
from tf_simclr.runs import calibration as run_calibration
from tf_simclr.runs import files as run_files

NUM_IMAGES = 32  # on which other formats are compared with the SavedModel
SECONDS_UNTIL_LEFT = 3600  # after which nobody is taken to write a partial export any more


def export(
    network,
    description: ModelDescription,
    directory: epath.Path,
    *,
    options: ExportConfig,
    make_images: Callable[[], np.ndarray] | None = None,
):
    """Writes `directory`/saved_model/<step>, and a directory like it for each other format.

    Args:
        network: `models.network.Network`, float32.
        description: what the network is.
        directory: of the run.
        options: the export section of the configuration; of each format the
            `keep_hub_module_max` newest exports are kept, 0 keeps all.
        make_images: a function that gives float32 [N, S, S, 3] to compare the formats on; None:
            pieces of two photographs.

    Raises:
        Failed: a format can't be written, or gives other outputs.
        UserError: the directory can't be written to.
    """
    calibration = description.calibration

    def write_saved_model(path):
        max_pixels = options.serving_max_pixels
        saved_model.write(network, description.class_names, path, max_pixels, calibration)
        assets = path / run_files.ASSETS
        assets.mkdir(parents=True, exist_ok=True)
        if calibration is not None:
            run_calibration.write(assets, calibration)
        for name, text in model_card.asset_files(description).items():
            (assets / name).write_text(text, encoding="utf-8")

    step, keep = description.step, options.keep_hub_module_max
    path = _replace(directory / run_files.SAVED_MODEL, step, keep, write_saved_model)
    others = [name for name in options.export_formats if name != run_files.SAVED_MODEL]
    if not others:
        return
    if make_images is not None:
        images = make_images()
    else:
        images = sample_images(*description.settings.preprocessing)
    # Once for all formats: loading it takes seconds.
    expected = formats.saved_model_outputs(path, images)
    for name in others:
        write = functools.partial(
            formats.write,
            name,
            network,
            images,
            expected,
            are_typical=make_images is not None,
            calibration=calibration,
        )
        _replace(directory / name, step, keep, write)


def _replace(directory, step, keep, write):
    """Writes `directory`/<step> beside its place and moves it there; older exports are removed.

    Args:
        directory: of a format.
        step: of the training.
        keep: how many exports are kept; 0: all.
        write: a function that writes into a directory.

    Returns:
        The path of the export.
    """
    path = directory / str(step)
    partial = directory / f"{run_files.PARTIAL}-{step}-{os.getpid()}"
    replaced = directory / f"{run_files.PARTIAL}-replaced-{step}-{os.getpid()}"
    try:
        partial.mkdir(parents=True, exist_ok=True)
        _remove_left(directory)
        write(partial)
        if path.exists():  # moved at once: half of an export could be taken for a whole one
            path.rename(replaced)
        partial.rename(path)
        if replaced.exists():
            replaced.rmtree()
        if keep:
            _remove_old(directory, path, keep)
    except (OSError, tf.errors.OpError) as error:
        raise write_error(f"{path}: it can't be written ({first_line(error)})", error) from None
    finally:
        if partial.exists():
            partial.rmtree()
    logging.info("exported %s", path)
    return path


def _remove_left(directory):
    """Removes what processes have left that were killed while they wrote."""
    for path in directory.iterdir():
        is_partial = path.name.startswith(f"{run_files.PARTIAL}-")
        if is_partial and time.time() - path.stat().mtime > SECONDS_UNTIL_LEFT:
            path.rmtree()


def _remove_old(directory, written, keep):
    """Removes exports of the earliest steps, so that `keep` are left; none of later ones.

    Another process may have exported a later step while this one was written.

    Args:
        directory: of a format.
        written: the path of the export that was just written, which stays.
        keep: how many stay, and those of later steps.
    """
    exports = [path for path in directory.iterdir() if path.name.isdigit()]
    earlier = [path for path in exports if int(path.name) < int(written.name)]
    earlier.sort(key=lambda path: int(path.name))
    num_removed = max(len(exports) - keep, 0)
    for path in earlier[:num_removed]:
        path.rmtree()


def sample_images(size: int, eval_crop: str = "centre", resizing: str = "antialias") -> np.ndarray:
    """Pieces of the two photographs that scikit-learn has; arguments as of `augment.eval_image`.

    Returns:
        float32 [NUM_IMAGES, size, size, 3] in [0, 1].
    """
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    photos = load_sample_images().images  # each uint8 [427, 640, 3]
    images = []
    for index in range(NUM_IMAGES):
        photo = photos[index % 2]
        side = int(rng.integers(100, 400))
        top = int(rng.integers(0, photo.shape[0] - side))
        left = int(rng.integers(0, photo.shape[1] - side))
        piece = photo[top : top + side, left : left + side]
        images.append(augment.eval_image(piece, size, eval_crop, resizing).numpy())
    return np.stack(images)
