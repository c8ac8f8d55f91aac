"""Small encoded copies of images, for the pages that show them."""

import io

import numpy as np
from PIL import Image

from tf_simclr.config.automatic import SMALL_SIZE

TINY_SIZE = 2 * SMALL_SIZE  # up to this side the pixels are shown as the squares that they are
JPEG_QUALITY = 88


def encode(image: np.ndarray, size: int) -> bytes:
    """A small copy of an image, as JPEG; as PNG if its pixels are enlarged.

    Args:
        image: uint8 [H, W, 3].
        size: of its longer side in pixels, at most.
    """
    thumbnail = resize(image, size)
    file = io.BytesIO()
    if is_tiny(image):
        thumbnail.save(file, "PNG", optimize=True)
    else:
        thumbnail.save(file, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return file.getvalue()


def resize(image: np.ndarray, size: int) -> Image.Image:
    """An image whose longer side has at most `size` pixels, with the same aspect ratio.

    Larger images are reduced with antialiasing, tiny ones enlarged by a whole factor.

    Args:
        image: uint8 [H, W, 3].
        size: of the longer side in pixels.
    """
    height, width, _ = image.shape
    longer = max(height, width)
    thumbnail = Image.fromarray(image)
    if longer > size:
        shape = (max(1, round(width * size / longer)), max(1, round(height * size / longer)))
        return thumbnail.resize(shape, Image.Resampling.LANCZOS, reducing_gap=3)
    factor = size // longer if is_tiny(image) else 1
    return thumbnail.resize((width * factor, height * factor), Image.Resampling.NEAREST)


def is_tiny(image: np.ndarray) -> bool:
    """Whether single pixels of an image [H, W, 3] can be told from each other once enlarged."""
    return max(image.shape[:2]) <= TINY_SIZE
