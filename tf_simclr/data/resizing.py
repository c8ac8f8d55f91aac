"""Bicubic resizing of one image, as Pillow's or as that of the original SimCLR release.

And means over areas, of batches on any device.
"""

import numpy as np
import tensorflow as tf

MAX_BETWEEN = 2**22  # pixels between the two axes of a resizing, from which on they matter


def _bicubic(image, shape):
    return tf.image.resize(image, shape, tf.image.ResizeMethod.BICUBIC)


def _antialiased_rows(image, count):
    """[H, W, 3] with `count` rows.

    To TensorFlow it is a single column with very many channels, over which it runs without a
    break. Both axes in turn are the bits of one call with both, in up to half of its time.
    """
    shape = tf.shape(image)
    column = tf.reshape(image, [1, shape[0], 1, shape[1] * shape[2]])
    method = tf.image.ResizeMethod.BICUBIC
    resized = tf.image.resize(column, [count, 1], method, antialias=True)
    return tf.reshape(resized, [count, shape[1], shape[2]])


def _antialiased_bicubic(image, shape):
    """Equal to Pillow's; an image that is only enlarged has nothing to antialias."""

    def columns_first():
        # Of a transpose of bytes oneDNN complains on a CPU that lacks what it wants.
        pixels = tf.cast(image, tf.float32)
        turned = _antialiased_rows(tf.transpose(pixels, [1, 0, 2]), shape[1])  # [w, H, 3]
        return _antialiased_rows(tf.transpose(turned, [1, 0, 2]), shape[0])

    def rows_first():
        turned = tf.transpose(_antialiased_rows(image, shape[0]), [1, 0, 2])  # [W, h, 3]
        return tf.transpose(_antialiased_rows(turned, shape[1]), [1, 0, 2])  # [h, w, 3]

    def reduced():
        # Few but very long rows would become many before they become short.
        height, width = tf.unstack(tf.shape(image)[:2])
        between = tf.cast(width, tf.int64) * tf.cast(shape[0], tf.int64)
        is_wide = (height < shape[0]) & (between > MAX_BETWEEN)
        return tf.cond(is_wide, columns_first, rows_first)

    is_reduced = tf.reduce_any(tf.shape(image)[:2] > shape)
    return tf.cond(is_reduced, reduced, lambda: _bicubic(image, shape))


# {--resizing: function of image and shape}, both with the kernel of Keys (1981), a = -0.5.
RESIZINGS = {"antialias": _antialiased_bicubic, "original": _bicubic}


def resize(image: tf.Tensor, size: int, resizing: str = "antialias") -> tf.Tensor:
    """Bicubic, in the image's range (it may overshoot a little).

    Args:
        image: uint8 or float [H, W, 3].
        size: height and width of the result.
        resizing: a key of `RESIZINGS`.

    Returns:
        float32 [size, size, 3].
    """
    return RESIZINGS[resizing](image, [size, size])


def area_means(images: tf.Tensor, side: int) -> tf.Tensor:
    """Means over areas, S / side pixels wide.

    As two matrix products: XLA, and so a TPU, has no kernel for `tf.image.resize` by areas.

    Args:
        images: float [B, S, S, C].
        side: height and width of the result, at most S.

    Returns:
        [B, side, side, C] in the type of the images.
    """
    size = images.shape[1]
    ends = np.arange(side + 1)[:, None] * (size / side)  # of the areas, in pixels
    pixels = np.arange(size)
    overlap = np.minimum(ends[1:], pixels + 1) - np.maximum(ends[:-1], pixels)
    share = tf.constant(np.maximum(overlap, 0) * (side / size), images.dtype)  # [side, S]
    return tf.einsum("ij,bjkc,lk->bilc", share, images, share)
