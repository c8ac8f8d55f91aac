"""Seed patches of Exemplar CNNs and their transformations (Dosovitskiy et al. 2016, sec. 2). Images are float32 [H, W, 3] in [0, 1].

A random function takes the uniform numbers it uses, `u` in [0, 1). Factors and powers are drawn uniformly in their logarithm,
in which the paper's ranges are symmetric, or nearly so.
"""

import math

import tensorflow as tf

from tf_simclr.data.color import between

GEOMETRY, COLOURS = 4, 7  # random numbers of each
SEARCHED = 96  # pixels of the shorter side of the copy that gradients are looked for in: those of the paper's images
TRANSLATION = 0.2  # by at most this share of the patch's side, each way
SCALE = (0.7, 1.4)
ROTATION = math.radians(20)
CONTRAST = (0.5, 2.0)  # factors along the principal components
POWER, FACTOR, OFFSET = (0.25, 4.0), (0.7, 1.4), (-0.1, 0.1)  # of saturation and value
HUE = (-0.1, 0.1)  # added, in whole turns


def seed_position(image, share, u):
    """The centre of a patch with a side of `share` of the shorter side, drawn in proportion to the mean squared gradient in it.

    Args:
        u: scalar.

    Returns:
        float32 [2], row and column as shares of the image's height and width.
    """
    image = reduced(image, SEARCHED / shorter_side(image))
    strength = squared_gradient(image)  # [h, w]
    side = tf.maximum(tf.cast(tf.math.rint(share * shorter_side(image)), tf.int32), 1)
    for _ in range(2):
        strength = tf.transpose(
            window_sums(strength, side)
        )  # at last [h - side + 1, w - side + 1], by the patch's corner
    cumulated = tf.cumsum(
        tf.reshape(tf.maximum(strength, 1e-6), [-1])
    )  # where nothing is to be seen anywhere, every place is as good
    chosen = tf.minimum(
        tf.searchsorted(cumulated, u[None] * cumulated[-1], "right")[0], tf.size(strength) - 1
    )
    corner = tf.stack([chosen // tf.shape(strength)[1], chosen % tf.shape(strength)[1]])
    return tf.cast(2 * corner + side, tf.float32) / tf.cast(2 * tf.shape(image)[:2], tf.float32)


def shorter_side(image):
    """float32, in pixels."""
    return tf.cast(tf.reduce_min(tf.shape(image)[:2]), tf.float32)


def reduced(image, factor):
    """The image with `factor` times the pixels a side, each the mean of what it covers; no larger than it is."""
    shape = tf.shape(image)[:2]
    size = tf.maximum(
        tf.cast(tf.math.rint(tf.minimum(factor, 1.0) * tf.cast(shape, tf.float32)), tf.int32), 1
    )
    return tf.cond(
        tf.reduce_all(size == shape),
        lambda: image,
        lambda: tf.image.resize(image, size, tf.image.ResizeMethod.AREA),
    )


def squared_gradient(image):
    """[H, W, 3] -> [H, W]: the sum over the channels of the squared differences to the next row and the next column."""
    rows, columns = tf.image.image_gradients(image[None])
    return tf.reduce_sum(tf.square(rows) + tf.square(columns), [0, 3])


def window_sums(values, length):
    """[n, m] -> [n - length + 1, m]: the sums of `length` rows that follow one another."""
    sums = tf.pad(tf.cumsum(values, 0), [[1, 0], [0, 0]])
    return sums[length:] - sums[:-length]


def resampled(image, place, share, u, size):
    """The patch at `place`, translated, scaled and rotated, from the image itself, which is reflected at its edges: [size, size, 3].

    Args:
        place, share: see `seed_place`. u: [4].
    """
    image = reduced(
        image, size / (share * shorter_side(image))
    )  # bilinear interpolation looks at no more than the nearest pixels
    side = share * shorter_side(image)
    step = side / size * between_logarithms(u[2], SCALE)  # pixels of the image in one of the result
    angle = between(u[3], -ROTATION, ROTATION)
    a, b = step * tf.cos(angle), step * tf.sin(angle)
    centre = (
        place * tf.cast(tf.shape(image)[:2], tf.float32)
        + side * between(u[:2], -TRANSLATION, TRANSLATION)
        - 0.5
    )  # the first pixel's own is 0
    middle = (size - 1) / 2
    x, y = centre[1] - a * middle + b * middle, centre[0] - b * middle - a * middle
    transform = tf.stack([a, -b, x, b, a, y, 0.0, 0.0])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=transform[None],
        output_shape=[size, size],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )[0]


def distorted(image, u):
    """Contrast along the principal components, then saturation and value, then hue. u: [7]."""
    image = tf.clip_by_value(
        principal_contrast(image, between_logarithms(u[:3], CONTRAST)), 0.0, 1.0
    )
    hue, saturation, value = tf.unstack(tf.image.rgb_to_hsv(image), axis=-1)
    power, factor, offset = (
        between_logarithms(u[3], POWER),
        between_logarithms(u[4], FACTOR),
        between(u[5], *OFFSET),
    )
    saturation, value = (
        tf.clip_by_value(factor * x**power + offset, 0.0, 1.0) for x in (saturation, value)
    )
    return tf.image.hsv_to_rgb(
        tf.stack([tf.math.floormod(hue + between(u[6], *HUE), 1.0), saturation, value], -1)
    )


def principal_contrast(image, factors):
    """Multiplies the pixels' deviations from their mean, along each principal component of theirs, by one of `factors` [3], smallest component first."""
    pixels = tf.reshape(image, [-1, 3])
    mean = tf.reduce_mean(pixels, 0)
    centred = pixels - mean
    _, components = tf.linalg.eigh(tf.matmul(centred, centred, transpose_a=True))  # columns
    return tf.reshape(
        tf.matmul(centred, (components * factors) @ tf.transpose(components)) + mean,
        tf.shape(image),
    )


def between_logarithms(u, limits):
    """Numbers in [low, high), uniform in their logarithm, from `u` in [0, 1)."""
    return tf.exp(between(u, *map(math.log, limits)))
