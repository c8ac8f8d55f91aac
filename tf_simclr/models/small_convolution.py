"""Convolution of small maps by matrix products, which are faster in bfloat16 there."""

import tensorflow as tf

TINY_MAP = 7  # size up to which the convolution itself is slower, too, not only its gradients


@tf.custom_gradient
def small_convolution(x, kernel):
    """tf.nn.conv2d with stride 1 and "SAME" of small maps.

    Its gradients are one matrix product for each tap of the kernel.

    Args:
        x: [B, H, W, C].
        kernel: [k, k, C, D], k odd.

    Returns:
        [B, H, W, D].
    """
    uses_products = kernel.shape[0] == 1 or x.shape[1] <= TINY_MAP
    strides = [1, 1, 1, 1]

    def gradient(upstream):
        if uses_products:
            flipped = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
            x_gradient = _sum_over_taps(upstream, flipped)
        else:
            x_gradient = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(x),
                filter=kernel,
                out_backprop=upstream,
                strides=strides,
                padding="SAME",
            )
        flat = tf.reshape(upstream, [-1, kernel.shape[3]])
        products = [tf.matmul(tap, flat, transpose_a=True) for tap in _taps(x, kernel)]
        kernel_gradient = tf.reshape(tf.stack(products), kernel.shape)
        return x_gradient, kernel_gradient

    if uses_products:
        return _sum_over_taps(x, kernel), gradient
    return tf.nn.conv2d(x, kernel, strides, "SAME"), gradient


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


def _sum_over_taps(x, kernel):
    weights = tf.unstack(tf.reshape(kernel, [-1, *kernel.shape[2:]]))  # k * k of [C, D]
    products = [tf.matmul(tap, weight) for tap, weight in zip(_taps(x, kernel), weights)]
    return tf.reshape(tf.add_n(products), [-1, *x.shape[1:3], kernel.shape[3]])
