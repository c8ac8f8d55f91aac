"""Convolution with stride 1, by matrix products where they are faster: in bfloat16 on CPUs."""

import functools
import math
import pathlib
from typing import NamedTuple

import tensorflow as tf

from tf_simclr import distribute

# With AMX: {kernel size: size of maps} up to which products make the gradient of the kernel faster,
# and a size up to which they make all of the convolution faster. Kernels of one pixel are products.
SMALL_MAPS = {1: 14, 3: 8}
TINY_MAP = 7
# With AVX-512 alone products are no faster (0.64 to 1.01 times), but for the gradient of the kernel
# (1.0 to 2.9 times) of maps up to this size, and with that many channels up to TINY_MAP.
VERY_TINY_MAP = 4
MANY_CHANNELS = 512 * 512  # of input times output
CPU_DESCRIPTION = "/proc/cpuinfo"  # of Linux, the only system that uses AMX


class Products(NamedTuple):
    """Which passes of a convolution are faster as matrix products.

    Attributes:
        kernel_gradient: the gradient of the kernel.
        others: the forward pass and the gradient of the input.
    """

    kernel_gradient: bool
    others: bool


def convolution(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """tf.nn.conv2d with stride 1 and "SAME".

    Args:
        x: [B, H, W, C].
        kernel: [k, k, C, D], k odd.

    Returns:
        [B, H, W, D].
    """
    products = faster_products(x, kernel)
    if not products.kernel_gradient:
        return _conv2d(x, kernel)
    return by_products(x, kernel, products.others)


def faster_products(x: tf.Tensor, kernel: tf.Tensor) -> Products:
    """Where products are faster. x: [B, H, W, C], kernel: [k, k, C, D]."""
    if x.dtype != tf.bfloat16 or not distribute.on_cpu():
        return Products(False, False)
    size = max(x.shape[1] or math.inf, x.shape[2] or math.inf)
    kernel_size = kernel.shape[0]
    if has_amx():
        is_small = size <= SMALL_MAPS.get(kernel_size, 0)
        return Products(is_small, is_small and (kernel_size == 1 or size <= TINY_MAP))
    has_many_channels = math.prod(kernel.shape[2:]) >= MANY_CHANNELS
    return Products(size <= (TINY_MAP if has_many_channels else VERY_TINY_MAP), False)


@functools.cache
def has_amx() -> bool:
    """Whether the processor has units for products of bfloat16 matrices."""
    try:
        return "amx_bf16" in pathlib.Path(CPU_DESCRIPTION).read_text(encoding="utf-8")
    except OSError:
        return False


def by_products(x: tf.Tensor, kernel: tf.Tensor, all_passes: bool) -> tf.Tensor:
    """As `convolution`, with a matrix product for each tap of the kernel.

    Args:
        x: [B, H, W, C].
        kernel: [k, k, C, D], k odd.
        all_passes: in all passes; else in the gradient of the kernel alone.
    """

    @tf.custom_gradient
    def convolve(x, kernel):
        def gradient(upstream):
            return input_gradient(x, kernel, upstream), _kernel_gradient(x, kernel, upstream)

        return outputs(x, kernel), gradient

    outputs, input_gradient = _conv2d, _conv2d_input_gradient
    if all_passes:
        outputs, input_gradient = _sum_over_taps, _sum_over_flipped_taps
    return convolve(x, kernel)


def _conv2d(x, kernel):
    return tf.nn.conv2d(x, kernel, 1, "SAME")


def _conv2d_input_gradient(x, kernel, upstream):
    return tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.shape(x),
        filter=kernel,
        out_backprop=upstream,
        strides=[1, 1, 1, 1],
        padding="SAME",
    )


def _sum_over_taps(x, kernel):
    weights = tf.unstack(tf.reshape(kernel, [-1, *kernel.shape[2:]]))  # k * k of [C, D]
    products = [tf.matmul(tap, weight) for tap, weight in zip(_taps(x, kernel), weights)]
    return tf.reshape(tf.add_n(products), [-1, *x.shape[1:3], kernel.shape[3]])


def _sum_over_flipped_taps(_, kernel, upstream):
    return _sum_over_taps(upstream, tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2]))


def _kernel_gradient(x, kernel, upstream):
    flat = tf.reshape(upstream, [-1, kernel.shape[3]])
    products = [tf.matmul(tap, flat, transpose_a=True) for tap in _taps(x, kernel)]
    return tf.reshape(tf.stack(products), kernel.shape)


def _taps(x, kernel):
    """What each tap of the kernel sees of x: k * k tensors [B * H * W, C]."""
    size = kernel.shape[0]
    height, width = x.shape[1:3]
    radius = size // 2
    x = tf.pad(x, [[0, 0], [radius, radius], [radius, radius], [0, 0]])
    taps = []
    for i in range(size):
        for j in range(size):
            window = x[:, i : i + height, j : j + width]
            taps.append(tf.reshape(window, [-1, x.shape[3]]))
    return taps
