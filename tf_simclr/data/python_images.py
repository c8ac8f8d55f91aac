"""What users of the Python API give as images -> single images."""

import itertools
import os
import sys
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from tf_simclr.config.automatic import Preprocessing
from tf_simclr.data import (
    augment,
    decoding,
    file_checks,
    foreign_images,
    image_endings,
    image_folder,
)
from tf_simclr.errors import Failed, UserError

BATCH_SIZE = 32  # images that go through the network at once
TEXT_KINDS = "OSU"  # of NumPy's dtypes: paths or contents of files, not pixels
ACCEPTED = (
    "a path, a folder, bytes, a PIL image, an array [H, W, 3] or [H, W], a list or an iterator of "
    "these, or an array [B, H, W, 3] is expected"
)


def batches(images, batch_size: int) -> Iterator[list]:
    """Lists of up to `batch_size` single images.

    Args:
        images: whatever `api.Model` takes.
        batch_size: images of a list.

    Yields:
        Lists of paths, bytes, uint8 [H, W, 3], and float32 [H, W, 3] in [0, 1].

    Raises:
        ValueError: something else, or none at all.
    """
    singles = _each(images)
    batch = list(itertools.islice(singles, batch_size))
    if not batch:
        raise ValueError("there are no images")
    while batch:
        yield batch
        batch = list(itertools.islice(singles, batch_size))


def prepared_batches(
    images, preprocessing: Preprocessing, value_range: tuple[float, float] | None
) -> Iterator[np.ndarray]:
    """Batches as a network takes them.

    Args:
        images: whatever `api.Model` takes.
        preprocessing: what is done to images that are not float32.
        value_range: of image files with 16 bits, see `decoding.decode`.

    Yields:
        float32 [B, H, W, 3] in [0, 1].

    Raises:
        ValueError: something else, none at all, or float images of different sizes.
    """
    size = None
    for batch in batches(images, BATCH_SIZE):
        prepared = [_prepare(image, preprocessing, value_range) for image in batch]
        sizes = {image.shape[:2] for image in prepared}
        size = size or prepared[0].shape[:2]
        if sizes != {size}:
            side = preprocessing.size
            texts = ", ".join(f"{height}x{width}" for height, width in sorted({size, *sizes}))
            raise ValueError(
                "float images go to the network as they are, so they have to be of one size "
                f"(others are brought to {side}x{side}), got {texts}"
            )
        yield np.stack(prepared)


def _prepare(image, preprocessing, value_range):
    """One image as float32 [H, W, 3]."""
    if _is_file(image):
        image = _decode(image, value_range)
    elif image.dtype == np.float32:
        return image
    return augment.eval_image(tf.convert_to_tensor(image), *preprocessing).numpy()


def _decode(image, value_range):
    """An image file, or its content, as uint8 [H, W, 3]."""
    is_content = isinstance(image, bytes)
    try:
        if is_content:
            contents = tf.constant(image)
        else:
            path = os.fspath(image)
            if os.path.exists(path):  # here, not in a bucket
                image_folder.checked_status(path)
            contents = tf.io.read_file(foreign_images.usable_path(path))
        return decoding.decode(file_checks.checked(contents), value_range=value_range)
    except Failed:  # which is not of the image
        raise
    except (UserError, OSError, tf.errors.OpError) as error:
        name = "these bytes" if is_content else os.fspath(image)
        is_of_decoder = isinstance(error, tf.errors.OpError)
        reason = file_checks.reason(error) if is_of_decoder else error
        raise ValueError(
            f"{name}: not an image that can be read ({reason}); {file_checks.ACCEPTED}"
        ) from None


def _each(images):
    """Yields single images."""
    if _is_file(images):
        if not isinstance(images, bytes) and os.path.isdir(images):
            yield from _files(os.fspath(images))
        else:
            yield images
    elif _is_pil(images):
        yield _pixels_of_pil(images)
    elif _is_array(images):
        yield from _images_of(np.asarray(images))
    elif isinstance(images, Iterable) and not isinstance(images, dict):
        yield from map(_single, images)
    else:
        raise ValueError(f"{ACCEPTED}, got {type(images).__name__}")


def _is_file(image):
    return isinstance(image, (str, bytes, os.PathLike))


def _is_array(images):
    """NumPy arrays, and the tensors of any library."""
    return hasattr(images, "__array__") and hasattr(images, "shape")


def _is_pil(image):
    pil = sys.modules.get("PIL.Image")  # whoever has such an image has imported it
    return pil is not None and isinstance(image, pil.Image)


def _files(folder):
    files = image_folder.image_files(folder)
    if not files:
        accepted = image_endings.accepted()
        raise ValueError(f"{folder}: no image in this folder; accepted are {accepted}")
    return files


def _images_of(array):
    """The single images of an array, which may be one."""
    if array.dtype.kind in TEXT_KINDS:
        return map(_single, np.atleast_1d(array).tolist())
    is_batch = array.ndim == 4 or array.shape == (0,)
    return map(_checked, array) if is_batch else [_checked(array)]


def _single(image):
    if _is_file(image):
        return image
    if _is_pil(image):
        return _pixels_of_pil(image)
    try:
        return _checked(np.asarray(image))
    except TypeError:
        raise ValueError(f"{ACCEPTED}, got a list of {type(image).__name__}") from None


def _pixels_of_pil(image):
    """uint8 [H, W, 3], upright."""
    from PIL import ImageOps

    if image.mode.startswith(("I", "F")):
        raise ValueError(
            f"a PIL image of mode {image.mode} has no 8-bit pixels; scale them to 0 to 255 and "
            "give uint8"
        )
    try:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except OSError as error:
        name = getattr(image, "filename", "") or "a PIL image"
        raise ValueError(f"{name}: not an image that can be read ({error})") from None


def _checked(image):
    """An image as uint8 or float32 [H, W, 3]."""
    is_float = np.issubdtype(image.dtype, np.floating)
    if image.dtype.kind in TEXT_KINDS:
        raise ValueError(f"{ACCEPTED}, got {image.dtype} values")
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, -1)
    if image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(
            f"images of shape [H, W, 3] are expected, got {image.shape}; "
            "grayscale ones as three equal channels or as [H, W]"
        )
    if not image.size:
        raise ValueError(f"images of at least one pixel are expected, got shape {image.shape}")
    if image.dtype != np.uint8 and not is_float:
        raise ValueError(
            "uint8 images in 0 to 255, or float32 ones of one size in [0, 1], are expected, got "
            f"{image.dtype}"
        )
    return _checked_floats(image.astype(np.float32)) if is_float else image


def _checked_floats(image):
    low, high = image.min(), image.max()
    if not 0 <= low <= high <= 1:
        raise ValueError(
            f"float images have to be in [0, 1], got {low:g} to {high:g}; "
            "divide by 255, or give uint8"
        )
    return image
