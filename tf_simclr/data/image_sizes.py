"""How large images are, by the headers of their files: none is decoded."""

import io
import warnings

import numpy as np
from PIL import Image

from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.orientation import TRANSPOSED, exif_orientation
from tf_simclr.data.source import Source

MAX_IMAGES = 200  # that are looked at


def sizes_of(source: Source, seed: int) -> np.ndarray:
    """Heights and widths of some images: a seeded draw, of a stream the first ones.

    Args:
        source: of the images.
        seed: of the draw.

    Returns:
        int [N, 2]; files that can't be read are left out.
    """
    if isinstance(source, Indexed):
        records = _records(source, source.draw(MAX_IMAGES, seed))
    else:
        examples = source.read(None).take(MAX_IMAGES).as_numpy_iterator()
        records = (record for _, record, _ in examples)
    sizes = [_size(record) for record in records]
    return np.array([size for size in sizes if size is not None], int).reshape(-1, 2)


def _records(source, drawn):
    """Images, or the contents of files."""
    return (source.contents(i) if source.by_path else source.records[i] for i in drawn)


def _size(record):
    """(height, width) of an image as it is seen; None if it can't be read."""
    if isinstance(record, np.ndarray):
        return record.shape[:2]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of images with very many pixels
            image = Image.open(io.BytesIO(record))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    width, height = image.size
    # Pillow would decode a PNG to look for it.
    is_transposed = int(exif_orientation(record)) in TRANSPOSED
    return (width, height) if is_transposed else (height, width)
