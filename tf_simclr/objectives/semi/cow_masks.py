"""Masks with spots like those of a cow: French, Oliver and Salimans 2020, algorithm 1.

"Milking CowMask for Semi-Supervised Image Classification".
"""

import math

import tensorflow as tf

from tf_simclr.data import noise
from tf_simclr.data.color import between

# For images of 32 pixels, in pixels; of `mix_cow_sigma_range` of the authors' code.
SIGMA_RANGE = (4.0, 16.0)
SIGMA_SIZE = 32
PROPORTION_RANGE = (0.2, 0.8)  # of the mask that is 1; `mix_cow_prop_range`
NUM_NUMBERS = 2  # random numbers of a mask besides its noise


def cow_masks(seeds: tf.Tensor, numbers: tf.Tensor, size: int) -> tf.Tensor:
    """Masks from noise that is smoothed and cut off at a threshold.

    Args:
        seeds: of the noise of each mask, integer [B, 2].
        numbers: float32 [B, 2] in [0, 1): the proportion of ones, and how smooth the mask is.
        size: side of the masks.

    Returns:
        float32 [B, size, size], 0 or 1.
    """
    proportion, smoothness = tf.unstack(numbers, axis=1)
    low, high = (math.log(sigma * size / SIGMA_SIZE) for sigma in SIGMA_RANGE)
    sigmas = tf.exp(between(smoothness, low, high))
    smoothed = smooth(noise.normal(seeds, [size, size]), sigmas)
    mean = tf.reduce_mean(smoothed, [1, 2], keepdims=True)
    deviation = tf.math.reduce_std(smoothed, [1, 2], keepdims=True)
    factors = tf.math.ndtri(between(proportion, *PROPORTION_RANGE))
    thresholds = mean + factors[:, None, None] * deviation
    return tf.cast(smoothed <= thresholds, tf.float32)


def smooth(images: tf.Tensor, sigmas: tf.Tensor) -> tf.Tensor:
    """Gaussian blur, zero-padded, as a product with a matrix from either side.

    Args:
        images: float32 [B, S, S].
        sigmas: float32 [B], in pixels.
    """
    positions = tf.range(images.shape[1], dtype=tf.float32)
    squares = tf.square(positions[:, None] - positions)  # [S, S]
    band = tf.exp(-squares / (2 * tf.square(sigmas)[:, None, None]))  # [B, S, S]
    return tf.matmul(tf.matmul(band, images), band)
