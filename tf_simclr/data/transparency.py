"""How many images have an alpha channel, which is left out."""

from absl import logging

from tf_simclr.data.decoding import PNG_SIGNATURE
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.source import Source

MAX_IMAGES = 1000  # that are looked at, a seeded draw
HEAD_SIZE = 32  # bytes of a file
PNG_COLOR_TYPE = 25  # position
PNG_ALPHA_TYPES = (4, 6)  # gray and alpha, RGB and alpha
WEBP_FLAGS = 20  # position, in an extended file
WEBP_ALPHA_BIT = 0x10


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
    if len(head) < HEAD_SIZE:
        return False
    if head.startswith(PNG_SIGNATURE):
        return head[PNG_COLOR_TYPE] in PNG_ALPHA_TYPES
    is_extended_webp = head[8:16] == b"WEBPVP8X"
    return is_extended_webp and bool(head[WEBP_FLAGS] & WEBP_ALPHA_BIT)
