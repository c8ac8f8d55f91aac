"""Patches of one image, inside tf.data, for the pretext tasks that compare them."""

import tensorflow as tf

# Of the channels that are dropped, as a share of the deviation of the one that stays (Doersch et
# al. 2015, section 3.1).
NOISE = 0.01
MIN_SIDE = 10  # pixels of a patch that was reduced: 100 in all (section 3.2)
# The axis of chromatic aberration, green against magenta.
CHROMATIC_AXIS = (-1.0, 2.0, -1.0)
# Mean and deviation of standardized patches: about those of photographs, so that the encoder meets
# in its evaluation what it has learned on.
STANDARD_MEAN = 0.5
STANDARD_DEVIATION = 0.25


def cut(canvas, corners, size: int, shift=None) -> tf.Tensor:
    """The patches of a canvas.

    Args:
        canvas: [S, S, 3].
        corners: int32 [N, 2], row and column, N known.
        size: of a patch.
        shift: int32 [N, 3, 2], how far each channel of a patch is taken from elsewhere, inside the
            canvas; None: not at all.

    Returns:
        [N, size, size, 3].
    """
    if shift is None:
        patches = []
        for corner in tf.unstack(corners):
            row, column = tf.unstack(corner)
            patches.append(tf.slice(canvas, [row, column, 0], [size, size, 3]))
        return tf.stack(patches)
    channel_corners = corners[:, None] + shift  # [N, 3, 2]
    channel_corners = tf.clip_by_value(channel_corners, 0, tf.shape(canvas)[0] - size)
    patches = []
    for patch_corners in tf.unstack(channel_corners):
        channels = []
        for channel, corner in enumerate(tf.unstack(patch_corners)):
            begin = [*tf.unstack(corner), channel]
            channels.append(tf.slice(canvas, begin, [size, size, 1]))
        patches.append(tf.concat(channels, -1))
    return tf.stack(patches)


def offsets(seed, shape: list[int], low: int, high: int) -> tf.Tensor:
    """Uniform whole numbers, int32, from `low` to `high`, both of them possible."""
    return tf.random.stateless_uniform(shape, seed, low, high + 1, tf.int32)


def sometimes_gray(image, seed, probability: float, weights) -> tuple[tf.Tensor, tf.Tensor]:
    """An image that is gray with some probability.

    Args:
        image: uint8 [S, S, 3].
        seed: integer [2].
        probability: of being gray.
        weights: of the channels in gray, 3 numbers.

    Returns:
        (uint8 [S, S, 3], bool whether it is gray).
    """
    gray = tf.tensordot(tf.cast(image, tf.float32), tf.constant(weights), 1)
    gray = tf.cast(tf.math.rint(gray)[..., None], tf.uint8)
    is_gray = tf.random.stateless_uniform([], seed) < probability
    return tf.where(is_gray, gray, image), is_gray


def standardized(patches) -> tf.Tensor:
    """Patches of which each channel has the same mean and deviation.

    Args:
        patches: float32 [N, S, S, 3] in [0, 1].
    """
    mean, variance = tf.nn.moments(patches, [1, 2], keepdims=True)
    return STANDARD_MEAN + STANDARD_DEVIATION * (patches - mean) * tf.math.rsqrt(variance + 1e-5)


def drop_colors(patch, seed) -> tf.Tensor:
    """One channel, drawn at random, as it is; the two others are noise around the middle gray.

    Source: Doersch et al. 2015, section 3.1.

    Args:
        patch: float32 [S, S, 3].
        seed: integer [2].
    """
    channel_seed, noise_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    channel = tf.random.stateless_uniform([], channel_seed, 0, 3, tf.int32)
    is_kept = tf.one_hot(channel, 3)
    deviation = tf.math.reduce_std(tf.reduce_sum(patch * is_kept, -1))
    noise = tf.random.stateless_normal(tf.shape(patch), noise_seed)
    return patch * is_kept + (0.5 + NOISE * deviation * noise) * (1 - is_kept)


def project_colors(patch) -> tf.Tensor:
    """A patch [..., 3] without what it has along the axis of chromatic aberration.

    Source: Doersch et al. 2015, section 3.1.
    """
    axis = tf.constant(CHROMATIC_AXIS)
    return patch - tf.reduce_sum(patch * axis, -1, keepdims=True) * axis / 6


def pixelated(patch, seed) -> tf.Tensor:
    """Half of the patches reduced to between MIN_SIDE and S pixels a side, and enlarged again.

    Args:
        patch: float32 [S, S, 3].
        seed: integer [2].
    """
    size = patch.shape[0]
    if size <= MIN_SIDE:
        return patch
    whether_seed, side_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    side = tf.random.stateless_uniform([], side_seed, MIN_SIDE, size, tf.int32)

    def reduced():
        return tf.image.resize(tf.image.resize(patch, [side, side], "area"), [size, size])

    is_reduced = tf.random.stateless_uniform([], whether_seed) < 0.5
    return tf.ensure_shape(tf.cond(is_reduced, reduced, lambda: patch), patch.shape)
