"""Gaussian blur of a batch of views, as matrix products (SimCLR appendix A)."""

import tensorflow as tf

BLOCK = 32  # rows or columns of a product of the blur


def blur_taps(height: int) -> int:
    """Number of taps of the blur's kernel at this image height: 23 at 224."""
    return 2 * int((height // 10) / 2) + 1


def blur(planes, sigma):
    """Gaussian blur, zero-padded, with a kernel of `blur_taps`.

    A product with a banded matrix along the rows and one along the columns: more arithmetic than
    the sum over the taps, but what every device is best at. It is taken block by block, without
    most of the matrix that is zero.

    Args:
        planes: float32 [..., 3, S, S] in [0, 1].
        sigma: float32 [...], pixels.
    """
    size = planes.shape[-1]
    radius = blur_taps(size) // 2
    distance = tf.range(size)[:, None] - tf.range(size)
    squares = tf.square(tf.cast(distance, tf.float32))  # [S, S]
    variance = 2 * tf.square(sigma)[..., None, None]
    tap_squares = tf.square(tf.range(-radius, radius + 1, dtype=tf.float32))
    total = tf.reduce_sum(tf.exp(-tap_squares / variance), -1, keepdims=True)
    band = tf.where(squares <= radius**2, tf.exp(-squares / variance), 0.0) / total  # [..., S, S]
    band = tf.broadcast_to(band[..., None, :, :], tf.shape(planes))
    blocks = _blocks(size, radius)
    row_products = [
        tf.matmul(planes[..., :, near], band[..., near, block]) for block, near in blocks
    ]
    planes = tf.concat(row_products, -1)
    column_products = [
        tf.matmul(band[..., block, near], planes[..., near, :]) for block, near in blocks
    ]
    planes = tf.concat(column_products, -2)
    return tf.clip_by_value(planes, 0.0, 1.0)


def _blocks(size, radius):
    """[(rows or columns of the result, what they depend on)]."""
    blocks = []
    for begin in range(0, size, BLOCK):
        end = min(begin + BLOCK, size)
        near = slice(max(begin - radius, 0), end + radius)
        blocks.append((slice(begin, end), near))
    return blocks
