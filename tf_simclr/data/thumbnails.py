"""Small encoded copies of images, for the pages that show them."""

import io

import numpy as np
from PIL import Image

from tf_simclr.config.automatic import SMALL_SIZE

TINY_SIZE = 2 * SMALL_SIZE  # up to this side the pixels are shown as the squares that they are
JPEG_QUALITY = 88
SHEET_QUALITY = 80
# How a JPEG keeps color, in Pillow's numbers: of each pixel, or of each four.
FULL_COLOR, HALF_COLOR = 0, 2


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


def encode_sheet(thumbnails: list[Image.Image], size: int, num_columns: int) -> bytes:
    """Thumbnails in one JPEG, row by row, each at the upper left of its square.

    Args:
        thumbnails: of `resize`.
        size: side of a square in pixels; a multiple of 16 keeps neighbors out of each other.
        num_columns: squares side by side.
    """
    num_rows = -(-len(thumbnails) // num_columns)
    sheet = Image.new("RGB", (num_columns * size, num_rows * size))
    for number, thumbnail in enumerate(thumbnails):
        row, column = divmod(number, num_columns)
        sheet.paste(thumbnail, (column * size, row * size))
    file = io.BytesIO()
    subsampling = FULL_COLOR if size <= SMALL_SIZE else HALF_COLOR
    sheet.save(file, "JPEG", quality=SHEET_QUALITY, subsampling=subsampling, optimize=True)
    return file.getvalue()
