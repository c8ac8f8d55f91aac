"""JPEG files, decoded at 1, 1/2, 1/4 or 1/8 of their size: whole, or a rectangle of them.

libjpeg computes a reduced image from a part of the coefficients: it is the mean of the pixels that
it stands for, within rounding, in a fraction of the time and memory. Sizes are (height, width).
"""

import tensorflow as tf

RATIOS = (1, 2, 4, 8)  # by which a side can be divided


def stored_size(contents: tf.Tensor) -> tf.Tensor:
    """int32 [2] of a file, as its header says."""
    return tf.image.extract_jpeg_shape(contents)[:2]


def reduced_size(size: tf.Tensor, ratio: tf.Tensor) -> tf.Tensor:
    """The size at which an image is decoded. size: int32 [2]; ratio: int32 scalar."""
    return (size + ratio - 1) // ratio


def ratio_within(size: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """The least of `RATIOS` at which an image has few enough pixels; else the greatest.

    Args:
        size: int32 [2].
        max_pixels: of the decoded image.

    Returns:
        int32 scalar.
    """
    ratios = tf.constant(RATIOS)
    sizes = tf.cast(reduced_size(size[None], ratios[:, None]), tf.int64)  # [4, 2]
    is_small = tf.reduce_prod(sizes, 1) <= max_pixels
    return tf.reduce_min(tf.where(is_small, ratios, RATIOS[-1]))


def ratio_for_crops(extents: list, size: int, max_ratio: tf.Tensor) -> tf.Tensor:
    """The greatest of `RATIOS` at which crops have at least `size` pixels on a side.

    Args:
        extents: sizes of the crops, int32 [2] each.
        size: in pixels.
        max_ratio: int32 scalar, not to be exceeded.

    Returns:
        int32 scalar.
    """
    shortest = tf.reduce_min(tf.stack(extents))
    # The borders of a crop are rounded to whole reduced pixels, which can take one away.
    limit = tf.minimum(shortest // (size + 1), max_ratio)
    ratios = tf.constant(RATIOS)
    return tf.reduce_max(tf.where(ratios <= limit, ratios, RATIOS[0]))


def decode(contents: tf.Tensor, ratio: tf.Tensor) -> tf.Tensor:
    """The whole image at 1 / `ratio` of its size, uint8 [H, W, 3].

    Args:
        contents: scalar string.
        ratio: int32 scalar, one of `RATIOS`.
    """
    return _for_ratio(ratio, lambda r: tf.io.decode_jpeg(contents, channels=3, ratio=r))


def decode_window(contents: tf.Tensor, window: tf.Tensor, ratio: tf.Tensor) -> tf.Tensor:
    """A rectangle of the image at 1 / `ratio` of its size, uint8 [h, w, 3].

    Args:
        contents: scalar string.
        window: int32 [4], first row, first column, height and width, in reduced pixels.
        ratio: int32 scalar, one of `RATIOS`.
    """
    return _for_ratio(
        ratio,
        lambda r: tf.raw_ops.DecodeAndCropJpeg(
            contents=contents, crop_window=window, channels=3, ratio=r
        ),
    )


def _for_ratio(ratio, function):
    """`function` of the ratio, which is an attribute of TensorFlow's operations, not an input."""
    branches = [lambda r=r: function(r) for r in RATIOS]
    index = tf.argmax(ratio == tf.constant(RATIOS), output_type=tf.int32)
    return tf.ensure_shape(tf.switch_case(index, branches), [None, None, 3])
