"""Seed patches of Exemplar CNNs and their transformations (Dosovitskiy et al. 2016, section 2).

Images are float32 [H, W, 3] in [0, 1]. A random function takes the uniform numbers it uses, `u` in
[0, 1). Factors and powers are drawn uniformly in their logarithm, in which the paper's ranges are
symmetric, or nearly so.
"""

import math

import tensorflow as tf

from tf_simclr.data.color import between

# Random numbers of each.
NUM_GEOMETRY = 4
NUM_COLORS = 7
# Pixels of the shorter side of the copy that gradients are looked for in: those of the paper.
SEARCHED_SIDE = 96
TRANSLATION = 0.2  # by at most this share of the patch's side, each way
SCALE = (0.7, 1.4)
ROTATION = math.radians(20)
CONTRAST = (0.5, 2.0)  # factors along the principal components
# Of saturation and value.
POWER = (0.25, 4.0)
FACTOR = (0.7, 1.4)
OFFSET = (-0.1, 0.1)
HUE = (-0.1, 0.1)  # added, in whole turns
MIN_GRADIENT = 1e-6  # where nothing is to be seen anywhere, every position is as good


def seed_position(image, share: float, u) -> tf.Tensor:
    """The center of a patch, drawn in proportion to the mean squared gradient in it.

    Args:
        image: float32 [H, W, 3].
        share: of the patch's side to the image's shorter side.
        u: scalar.

    Returns:
        float32 [2], row and column as shares of the image's height and width.
    """
    image = reduced(image, SEARCHED_SIDE / shorter_side(image))
    strength = squared_gradient(image)  # [h, w]
    side = tf.cast(tf.math.rint(share * shorter_side(image)), tf.int32)
    side = tf.maximum(side, 1)
    for _ in range(2):
        strength = tf.transpose(window_sums(strength, side))
    # By the patch's corner, [h - side + 1, w - side + 1].
    cumulated = tf.cumsum(tf.reshape(tf.maximum(strength, MIN_GRADIENT), [-1]))
    index = tf.searchsorted(cumulated, u[None] * cumulated[-1], "right")[0]
    index = tf.minimum(index, tf.size(strength) - 1)
    width = tf.shape(strength)[1]
    corner = tf.stack([index // width, index % width])
    size = tf.cast(2 * tf.shape(image)[:2], tf.float32)
    return tf.cast(2 * corner + side, tf.float32) / size


def shorter_side(image) -> tf.Tensor:
    """float32 scalar, in pixels."""
    return tf.cast(tf.reduce_min(tf.shape(image)[:2]), tf.float32)


def reduced(image, factor) -> tf.Tensor:
    """The image with `factor` times the pixels a side, each the mean of what it covers.

    It is no larger than the image.
    """
    shape = tf.shape(image)[:2]
    scaled = tf.minimum(factor, 1.0) * tf.cast(shape, tf.float32)
    size = tf.maximum(tf.cast(tf.math.rint(scaled), tf.int32), 1)

    def resized():
        return tf.image.resize(image, size, tf.image.ResizeMethod.AREA)

    return tf.cond(tf.reduce_all(size == shape), lambda: image, resized)


def squared_gradient(image) -> tf.Tensor:
    """The sum over the channels of the squared differences to the next row and column.

    [H, W, 3] -> [H, W].
    """
    rows, columns = tf.image.image_gradients(image[None])
    return tf.reduce_sum(tf.square(rows) + tf.square(columns), [0, 3])


def window_sums(values, length) -> tf.Tensor:
    """[n, m] -> [n - length + 1, m]: the sums of `length` rows that follow one another."""
    sums = tf.pad(tf.cumsum(values, 0), [[1, 0], [0, 0]])
    return sums[length:] - sums[:-length]


def resampled(image, position, share: float, u, size: int) -> tf.Tensor:
    """A patch, translated, scaled and rotated, from the image itself.

    The image is reflected at its edges.

    Args:
        image: float32 [H, W, 3].
        position: of `seed_position`.
        share: see `seed_position`.
        u: float32 [4].
        size: height and width of the result.

    Returns:
        float32 [size, size, 3].
    """
    # Bilinear interpolation looks at no more than the nearest pixels.
    image = reduced(image, size / (share * shorter_side(image)))
    side = share * shorter_side(image)
    step = side / size * between_logarithms(u[2], SCALE)  # pixels of the image in one of the result
    angle = between(u[3], -ROTATION, ROTATION)
    a, b = step * tf.cos(angle), step * tf.sin(angle)
    translation = side * between(u[:2], -TRANSLATION, TRANSLATION)
    # The center of the first pixel is 0.
    center = position * tf.cast(tf.shape(image)[:2], tf.float32) + translation - 0.5
    middle = (size - 1) / 2
    x = center[1] - a * middle + b * middle
    y = center[0] - b * middle - a * middle
    transform = tf.stack([a, -b, x, b, a, y, 0.0, 0.0])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=transform[None],
        output_shape=[size, size],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )[0]


def distorted(image, u) -> tf.Tensor:
    """Contrast along the principal components, then saturation and value, then hue.

    Args:
        image: float32 [H, W, 3] in [0, 1].
        u: float32 [7].
    """
    image = principal_contrast(image, between_logarithms(u[:3], CONTRAST))
    image = tf.clip_by_value(image, 0.0, 1.0)
    hue, saturation, value = tf.unstack(tf.image.rgb_to_hsv(image), axis=-1)
    power = between_logarithms(u[3], POWER)
    factor = between_logarithms(u[4], FACTOR)
    offset = between(u[5], *OFFSET)
    saturation = tf.clip_by_value(factor * saturation**power + offset, 0.0, 1.0)
    value = tf.clip_by_value(factor * value**power + offset, 0.0, 1.0)
    hue = tf.math.floormod(hue + between(u[6], *HUE), 1.0)
    return tf.image.hsv_to_rgb(tf.stack([hue, saturation, value], -1))


def principal_contrast(image, factors) -> tf.Tensor:
    """Multiplies the pixels' deviations from their mean along each principal component.

    Args:
        image: [H, W, 3].
        factors: [3], smallest component first.
    """
    pixels = tf.reshape(image, [-1, 3])
    mean = tf.reduce_mean(pixels, 0)
    centered = pixels - mean
    _, components = tf.linalg.eigh(tf.matmul(centered, centered, transpose_a=True))  # columns
    scaling = (components * factors) @ tf.transpose(components)  # [3, 3]
    return tf.reshape(tf.matmul(centered, scaling) + mean, tf.shape(image))


def between_logarithms(u, limits: tuple[float, float]):
    """Numbers in [low, high), uniform in their logarithm, from `u` in [0, 1)."""
    low, high = limits
    return tf.exp(between(u, math.log(low), math.log(high)))
