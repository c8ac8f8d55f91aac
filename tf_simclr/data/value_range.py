"""Images of 16 bits a value: which of their values become black and white.

Microscopes, X-ray and depth cameras write 10 to 14 bits into 16, so that the upper 8 are nearly
black. Values are scaled by the range that the training images have.
"""

import itertools

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr.config.automatic import AUTO, FULL_RANGE
from tf_simclr.data.decoding import PNG_16_BIT_START, PNG_BIT_DEPTH, PNG_SIGNATURE
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.source import Source

MAX_OPENED = 10_000  # files whose headers are read; of more a seeded draw
MAX_IMAGES = 1000  # that the range is taken from, of those
MAX_STREAMED = 200  # the first ones of a stream, whose files are in random order


def settle(value_range: str, source: Source) -> str:
    """What `--value_range` means for the training images; the log says what was measured.

    Args:
        value_range: the flag.
        source: the training images.

    Returns:
        The flag's value without "auto".
    """
    if value_range != AUTO:
        return value_range
    contents = _contents_of_16_bit_images(source)
    ranges = [_range_of(content) for content in contents]
    ranges = [limits for limits in ranges if limits is not None]
    if not ranges:
        return FULL_RANGE
    lows, highs = zip(*ranges)
    low, high = min(lows), max(highs)
    if low == high:
        return FULL_RANGE
    logging.warning(
        "%s: images with 16 bits a value: %d (black) to %d (white), the range of %d of them; it is "
        "kept with the run and its exports. --value_range=LOW,HIGH gives another",
        source.name,
        low,
        high,
        len(ranges),
    )
    return f"{low},{high}"


def _contents_of_16_bit_images(source):
    """The contents of some of a source's PNG files of 16 bits."""
    if not isinstance(source, Indexed):
        records = source.read(None).take(MAX_STREAMED).as_numpy_iterator()
        return [record for _, record, _ in records if _is_16_bit(record)]
    if not source.is_encoded:
        return []
    # Where no file has 16 bits, all would be opened one by one.
    order = np.random.default_rng(0).permutation(source.num_examples)[:MAX_OPENED]
    is_chosen = (i for i in order if _is_16_bit(source.contents(i, PNG_16_BIT_START)))
    return [source.contents(i) for i in itertools.islice(is_chosen, MAX_IMAGES)]


def _is_16_bit(content):
    is_png = content.startswith(PNG_SIGNATURE)
    return is_png and content[PNG_BIT_DEPTH:PNG_16_BIT_START] == b"\x10"


def _range_of(content):
    """(least, greatest) value of a PNG of 16 bits; None if it can't be decoded."""
    try:
        values = tf.io.decode_png(content, dtype=tf.uint16).numpy()
    except tf.errors.OpError:
        return None
    num_channels = values.shape[2]
    has_alpha = num_channels % 2 == 0  # gray or RGB, and alpha
    colors = values[..., : num_channels - has_alpha]
    return int(colors.min()), int(colors.max())
