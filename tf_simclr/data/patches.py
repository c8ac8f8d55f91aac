"""Patches of one image, inside tf.data, for the pretext tasks that compare them."""

import tensorflow as tf

NOISE = 0.01  # of the channels that are dropped, as a share of the deviation of the one that stays (Doersch et al. 2015, sec. 3.1)
LEAST_PIXELS = 10  # a side of a patch that was reduced: 100 pixels in all (sec. 3.2)


def cut(canvas, corners, size, shift=None):
    """The patches of a canvas.

    Args:
        canvas: [S, S, 3]. corners: int32 [N, 2], row and column, N known. size: of a patch.
        shift: int32 [N, 3, 2], how far each channel of a patch is taken from elsewhere, inside the canvas; None: not at all.

    Returns:
        [N, size, size, 3].
    """
    if shift is None:
        return tf.stack(
            [
                tf.slice(canvas, [row, column, 0], [size, size, 3])
                for row, column in map(tf.unstack, tf.unstack(corners))
            ]
        )
    moved = tf.clip_by_value(corners[:, None] + shift, 0, tf.shape(canvas)[0] - size)
    return tf.stack(
        [
            tf.concat(
                [
                    tf.slice(canvas, [*tf.unstack(corner), channel], [size, size, 1])
                    for channel, corner in enumerate(tf.unstack(patch))
                ],
                -1,
            )
            for patch in tf.unstack(moved)
        ]
    )


def offsets(seed, shape, low, high):
    """Uniform whole numbers, int32, from `low` to `high`, both of them possible."""
    return tf.random.stateless_uniform(shape, seed, low, high + 1, tf.int32)


def sometimes_grey(image, seed, probability, weights):
    """(uint8 [S, S, 3], bool): an image, with this probability the mean of its channels, weighted by `weights` [3], in each of them, and whether it is that."""
    grey = tf.math.rint(tf.tensordot(tf.cast(image, tf.float32), tf.constant(weights), 1))[
        ..., None
    ]
    chosen = tf.random.stateless_uniform([], seed) < probability
    return tf.where(chosen, tf.cast(grey, tf.uint8), image), chosen


def standardized(patches):
    """float32 [N, S, S, 3] in [0, 1], each channel of each with the same mean and deviation.

    Those are 1/2 and 1/4, about what photographs have: so the encoder meets in its evaluation what it has learned on.
    """
    mean, variance = tf.nn.moments(patches, [1, 2], keepdims=True)
    return 0.5 + 0.25 * (patches - mean) * tf.math.rsqrt(variance + 1e-5)


def drop_colours(patch, seed):
    """float32 [S, S, 3] with one channel, drawn at random, as it is; the two others are noise around the middle grey (Doersch et al. 2015, sec. 3.1)."""
    which, noise = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    kept = tf.one_hot(tf.random.stateless_uniform([], which, 0, 3, tf.int32), 3)
    deviation = tf.math.reduce_std(tf.reduce_sum(patch * kept, -1))
    return patch * kept + (
        0.5 + NOISE * deviation * tf.random.stateless_normal(tf.shape(patch), noise)
    ) * (1 - kept)


def project_colours(patch):
    """float32 [..., 3] without what it has along green against magenta, the axis of chromatic aberration (Doersch et al. 2015, sec. 3.1)."""
    axis = tf.constant([-1.0, 2.0, -1.0])
    return patch - tf.reduce_sum(patch * axis, -1, keepdims=True) * axis / 6


def pixelated(patch, seed):
    """Half of the patches float32 [S, S, 3] reduced to between LEAST_PIXELS and S a side, and enlarged again."""
    size = patch.shape[0]
    if size <= LEAST_PIXELS:
        return patch
    whether, side = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    side = tf.random.stateless_uniform([], side, LEAST_PIXELS, size, tf.int32)
    reduced = lambda: tf.image.resize(tf.image.resize(patch, [side, side], "area"), [size, size])
    return tf.ensure_shape(
        tf.cond(tf.random.stateless_uniform([], whether) < 0.5, reduced, lambda: patch), patch.shape
    )
