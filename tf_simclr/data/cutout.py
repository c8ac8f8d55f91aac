"""Cutout: a square of a view is hidden (DeVries and Taylor 2017)."""

import tensorflow as tf

FILL = 128  # gray, of 255
SEED = 1  # tells its random numbers from those of the other geometry


def cut_out(image: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    """Hides a square, whose center is anywhere in the image, so that it may reach over the border.

    Args:
        image: uint8 [S, S, 3].
        seed: int32 or int64 [2], of the view.
        share: side of the square, as a share of S.

    Returns:
        uint8 [S, S, 3].
    """
    size = image.shape[0]
    side = round(share * size)
    own_seed = tf.random.experimental.stateless_fold_in(seed, SEED)
    center = tf.random.stateless_uniform([2], own_seed, maxval=size, dtype=tf.int32)
    distance = tf.range(size) - center[:, None] + side // 2  # [2, S], from the square's first pixel
    is_inside = (distance >= 0) & (distance < side)
    is_hidden = is_inside[0][:, None] & is_inside[1]  # [S, S]
    return tf.where(is_hidden[..., None], tf.constant(FILL, image.dtype), image)
