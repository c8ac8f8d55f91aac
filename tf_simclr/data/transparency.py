"""How many PNG and WebP images have transparency, which is left out."""

from absl import logging

from tf_simclr.data.decoding import PNG_SIGNATURE
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.source import Source

MAX_IMAGES = 1000  # that are looked at, a seeded draw
HEAD_SIZE = 2**14  # bytes of a file; a PNG may have a color profile before its transparency
LEAST_SIZE = 32  # bytes of a file that is an image
PNG_COLOR_TYPE = 25  # position
PNG_ALPHA_TYPES = (4, 6)  # gray and alpha, RGB and alpha
PNG_TRANSPARENCY = b"tRNS"  # of a palette, or the color that is transparent
PNG_PIXELS = b"IDAT"
WEBP_ALPHA_BIT = 0x10
WEBP_ALPHA_BYTES = {b"WEBPVP8X": 20, b"WEBPVP8L": 24}  # {extended or lossless: position}


def note(source: Source):
    """Logs how many images have transparency, where some have.

    Args:
        source: its files are looked at; a stream is not.
    """
    if not isinstance(source, Indexed) or not source.is_encoded:
        return
    drawn = source.draw(MAX_IMAGES, 0)
    count = sum(_has_alpha(source.contents(index, HEAD_SIZE)) for index in drawn)
    if count:
        logging.warning(
            "%s: %d of %d images that were looked at have transparency, which is left out: what "
            "it hides is seen",
            source.name,
            count,
            len(drawn),
        )


def _has_alpha(head):
    if len(head) < LEAST_SIZE:
        return False
    if head.startswith(PNG_SIGNATURE):
        before_pixels = head.partition(PNG_PIXELS)[0]
        return head[PNG_COLOR_TYPE] in PNG_ALPHA_TYPES or PNG_TRANSPARENCY in before_pixels
    position = WEBP_ALPHA_BYTES.get(head[8:16])
    return position is not None and bool(head[position] & WEBP_ALPHA_BIT)
