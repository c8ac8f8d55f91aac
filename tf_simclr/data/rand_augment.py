"""RandAugment and Cutout of a batch, in the training step: the strong view of an image.

"RandAugment: Practical Automated Data Augmentation with a Reduced Search Space" (Cubuk et al. 2020)
in the form of FixMatch (Sohn et al. 2020, appendix D): two of 14 operations, each with a random
magnitude, then Cutout (DeVries and Taylor 2017). Its operations are those of Pillow.

`keras.layers.RandAugment` draws its operations, from 11 others, once for a whole batch, and from a
random state that is not in a checkpoint.
"""

import math

import tensorflow as tf

from tf_simclr.data import color
from tf_simclr.data.color import between

NUM_OPERATIONS = 2  # that an image goes through (appendix D)
NUMBERS_OF_OPERATION = 3  # which one, whether, magnitude
NUM_NUMBERS = NUM_OPERATIONS * NUMBERS_OF_OPERATION + 2  # random numbers of an image
PROBABILITY = 0.5  # that an operation is done: `AugmentPoolRAM` of the authors' code
FILL = 0.5  # where the image ends, and in the square of Cutout: gray, as in the authors' code
BYTE = 255.0

# The ranges of appendix D.
MAX_ROTATION = 30.0  # degrees, either way
MAX_SHEAR = 0.3
MAX_TRANSLATION = 0.3  # of the side
ENHANCEMENT = (0.05, 0.95)  # of brightness, color, contrast and sharpness
FEWEST_BITS, MOST_BITS = 4, 8  # of posterize
# Of sharpness: ImageFilter.SMOOTH of Pillow.
SMOOTHING_KERNEL = [[1, 1, 1], [1, 5, 1], [1, 1, 1]]
SMOOTHING_SCALE = 13


def strong(images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Two random operations and a Cutout of half the side.

    Args:
        images: float32 [N, S, S, 3] in [0, 1].
        numbers: float32 [N, NUM_NUMBERS] in [0, 1), all that is random.

    Returns:
        float32 [N, S, S, 3] in [0, 1].
    """
    for layer in range(NUM_OPERATIONS):
        begin = layer * NUMBERS_OF_OPERATION
        which, whether, magnitude = tf.unstack(numbers[:, begin : begin + 3], axis=1)
        operation = tf.cast(which * len(OPERATIONS), tf.int32)
        operation = tf.where(whether < PROBABILITY, operation, OPERATIONS.index("identity"))
        images = operate(images, operation, magnitude)
    return cutout(images, numbers[:, -2:])


def operate(images: tf.Tensor, operation: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
    """One operation on each image.

    Args:
        images: float32 [N, S, S, 3] in [0, 1].
        operation: int32 [N], indices of `OPERATIONS`.
        u: float32 [N] in [0, 1), where in its range the magnitude is.

    Returns:
        float32 [N, S, S, 3] in [0, 1].
    """
    size = images.shape[1]
    matrices = identity(u, size)
    for name, matrix in GEOMETRY.items():
        is_drawn = operation == OPERATIONS.index(name)
        matrices = tf.where(is_drawn[:, None], matrix(u, size), matrices)
    images = transform(images, matrices)
    for name, change in COLORS.items():
        is_drawn = operation == OPERATIONS.index(name)
        images = tf.where(_expand(is_drawn), change(images, u), images)
    return images


def cutout(images: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
    """Fills a square of half the side, which may reach over the border.

    Args:
        images: float32 [N, S, S, 3].
        u: float32 [N, 2] in [0, 1), where its center is.
    """
    size = images.shape[1]
    half = size // 2 // 2
    center = tf.floor(u * size)
    distance = tf.range(size, dtype=tf.float32) - center[..., None]  # [N, 2, S]
    is_inside = (distance >= -half) & (distance < half)
    rows, columns = tf.unstack(is_inside, axis=1)
    is_cut = rows[:, :, None] & columns[:, None, :]
    return tf.where(is_cut[..., None], FILL, images)


# Geometry: from u [N] and the side to matrices (a, b, c, d, e, f) [N, 6]. The pixel at (x, y) is
# what was at (a x + b y + c, d x + e y + f), as of Pillow's Image.transform.


def identity(u, size):
    """Nothing moves."""
    one, zero = tf.ones_like(u), tf.zeros_like(u)
    return tf.stack([one, zero, zero, zero, one, zero], 1)


def rotate(u, size):
    """About the center."""
    angle = between(u, -1.0, 1.0) * (MAX_ROTATION * math.pi / 180)
    cos, sin = tf.cos(angle), tf.sin(angle)
    center = size / 2
    x_offset = center - cos * center + sin * center
    y_offset = center - sin * center - cos * center
    return tf.stack([cos, -sin, x_offset, sin, cos, y_offset], 1)


def shear_x(u, size):
    """Rows move the further the lower they are."""
    return identity(u, size) + _at(1, between(u, -MAX_SHEAR, MAX_SHEAR))


def shear_y(u, size):
    """Columns move the further the more to the right they are."""
    return identity(u, size) + _at(3, between(u, -MAX_SHEAR, MAX_SHEAR))


def translate_x(u, size):
    """To a side."""
    return identity(u, size) + _at(2, size * between(u, -MAX_TRANSLATION, MAX_TRANSLATION))


def translate_y(u, size):
    """Up or down."""
    return identity(u, size) + _at(5, size * between(u, -MAX_TRANSLATION, MAX_TRANSLATION))


def _at(position, value):
    """A matrix that is 0 but for one of its six numbers."""
    return value[:, None] * tf.one_hot(position, 6)


def transform(images: tf.Tensor, matrices: tf.Tensor) -> tf.Tensor:
    """Moves pixels, to the nearest one.

    Args:
        images: float32 [N, S, S, 3].
        matrices: float32 [N, 6].
    """
    size = images.shape[1]
    centers = tf.range(size, dtype=tf.float32) + 0.5
    x, y = tf.meshgrid(centers, centers)
    a, b, c, d, e, f = tf.unstack(matrices[:, :, None, None], axis=1)
    source_x = tf.cast(tf.floor(a * x + b * y + c), tf.int32)  # [N, S, S]
    source_y = tf.cast(tf.floor(d * x + e * y + f), tf.int32)
    is_inside = _is_index(source_x, size) & _is_index(source_y, size)
    index = tf.where(is_inside, source_y * size + source_x, 0)
    pixels = tf.reshape(images, [-1, size * size, 3])
    moved = tf.gather(pixels, tf.reshape(index, [-1, size * size]), batch_dims=1)
    return tf.where(is_inside[..., None], tf.reshape(moved, tf.shape(images)), FILL)


def _is_index(value, size):
    return (value >= 0) & (value < size)


# Colors: from images [N, S, S, 3] and u [N] to images.


def autocontrast(images, u):
    """The darkest value of each channel becomes 0 and the brightest 1."""
    least = tf.reduce_min(images, [1, 2], keepdims=True)
    largest = tf.reduce_max(images, [1, 2], keepdims=True)
    stretched = tf.math.divide_no_nan(images - least, largest - least)
    return tf.where(largest > least, stretched, images)


def equalize(images, u):
    """All values of a channel are about as frequent."""
    size, channels = images.shape[1], images.shape[3]
    bytes_ = tf.cast(tf.math.rint(images * BYTE), tf.int32)
    bytes_ = tf.reshape(tf.transpose(bytes_, [0, 3, 1, 2]), [-1, size * size])  # [N 3, S S]
    counts = _histograms(bytes_)  # [N 3, 256]
    brightest = tf.reduce_max(bytes_, -1, keepdims=True)
    of_brightest = tf.gather(counts, brightest, batch_dims=1)
    step = (size * size - of_brightest) // 255  # [N 3, 1]
    below = tf.cumsum(counts, axis=-1, exclusive=True)
    table = tf.minimum((step // 2 + below) // tf.maximum(step, 1), 255)
    table = tf.where(step > 0, table, tf.range(256))
    equalized = tf.gather(table, bytes_, batch_dims=1)
    equalized = tf.reshape(equalized, [-1, channels, size, size])
    return tf.cast(tf.transpose(equalized, [0, 2, 3, 1]), tf.float32) / BYTE


def _histograms(bytes_):
    """How often each byte is in each row: int32 [n, k] -> int32 [n, 256]."""
    # Not tf.math.bincount, which GPUs refuse with --deterministic.
    num_rows = tf.shape(bytes_)[0]
    segments = bytes_ + 256 * tf.range(num_rows)[:, None]
    counts = tf.math.unsorted_segment_sum(tf.ones_like(segments), segments, 256 * num_rows)
    return tf.reshape(counts, [num_rows, 256])


def solarize(images, u):
    """Values from a threshold on are inverted."""
    return tf.where(images < _expand(u), images, 1 - images)


def posterize(images, u):
    """Values keep their upper bits alone."""
    bits = FEWEST_BITS + tf.floor(u * (MOST_BITS - FEWEST_BITS + 1))
    step = _expand(2.0 ** (8 - bits))
    values = tf.math.rint(images * BYTE)
    return tf.floor(values / step) * step / BYTE


def fade_color(images, u):
    """Towards gray."""
    return _blend(_gray(images), images, u)


def fade_contrast(images, u):
    """Towards the mean of gray."""
    return _blend(tf.reduce_mean(_gray(images), [1, 2, 3], keepdims=True), images, u)


def darken(images, u):
    """Towards black."""
    return _blend(tf.zeros_like(images), images, u)


def smooth(images, u):
    """Towards the weighted mean of each pixel and its neighbors; the border stays."""
    kernel = tf.constant(SMOOTHING_KERNEL, tf.float32) / SMOOTHING_SCALE
    kernel = tf.tile(kernel[:, :, None, None], [1, 1, 3, 1])
    inner = tf.nn.depthwise_conv2d(images, kernel, [1, 1, 1, 1], "VALID")
    inner = tf.pad(inner, [[0, 0], [1, 1], [1, 1], [0, 0]])
    ones = tf.ones([images.shape[1] - 2] * 2, tf.bool)
    is_inner = tf.pad(ones, [[1, 1], [1, 1]])
    return _blend(tf.where(is_inner[:, :, None], inner, images), images, u)


def _blend(degenerate, images, u):
    factor = _expand(between(u, *ENHANCEMENT))
    return degenerate * (1 - factor) + images * factor


def _gray(images):
    """[N, S, S, 1]."""
    return tf.reduce_sum(images * tf.constant(color.LUMA), -1, keepdims=True)


def _expand(amount):
    """[N] -> [N, 1, 1, 1]."""
    return amount[:, None, None, None]


GEOMETRY = {
    "rotate": rotate,
    "shear_x": shear_x,
    "shear_y": shear_y,
    "translate_x": translate_x,
    "translate_y": translate_y,
}
COLORS = {
    "autocontrast": autocontrast,
    "equalize": equalize,
    "solarize": solarize,
    "posterize": posterize,
    "color": fade_color,
    "contrast": fade_contrast,
    "brightness": darken,
    "sharpness": smooth,
}
OPERATIONS = ("identity", *GEOMETRY, *COLORS)
