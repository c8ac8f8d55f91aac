"""Convolutions with their batch norm folded in, as constants: a network that only predicts.

A convolution with a bias is one operation of oneDNN with the ReLU behind it, and its constant
kernel is brought into the layout of the processor once, not at each call.
"""

import contextlib
import threading

import numpy as np
import tensorflow as tf

from tf_simclr.models.layers import BatchNorm, Conv

_tracing = threading.local()


@contextlib.contextmanager
def folded_norms():
    """While active, graphs that are traced have the weights of `conv_norm` as they are now."""
    _tracing.is_folded = True
    try:
        yield
    finally:
        _tracing.is_folded = False


def conv_norm(conv: Conv, norm: BatchNorm, x: tf.Tensor, training: bool) -> tf.Tensor:
    """A convolution and its batch norm; within `folded_norms` one convolution with a bias.

    Args:
        conv: the convolution.
        norm: of its output.
        x: [B, H, W, C].
        training: whether the batch norm uses the batch's statistics.

    Returns:
        [B, H, W, D].
    """
    if is_folded(training):
        return _folded(conv, norm, x)
    return norm(conv(x), training=training)


def conv_and_norm(
    conv: Conv, norm: BatchNorm, x: tf.Tensor, training: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """(output of the convolution, that of the batch norm); arguments as of `conv_norm`.

    Within `folded_norms` nothing depends on the first one, so a graph computes it only if asked.
    """
    convolved = conv(x)
    if is_folded(training):
        return convolved, _folded(conv, norm, x)
    return convolved, norm(convolved, training=training)


def is_folded(training: bool) -> bool:
    """Whether batch norm is folded into convolutions here."""
    return not training and getattr(_tracing, "is_folded", False)


def _folded(conv, norm, x):
    kernel, bias = folded_weights(conv, norm)
    return tf.nn.bias_add(conv.convolve(x, tf.constant(kernel)), tf.constant(bias))


def folded_weights(conv: Conv, norm: BatchNorm) -> tuple[np.ndarray, np.ndarray]:
    """(kernel float32 [k, k, C, D], bias [D]) that do what `conv` and `norm` do in inference."""
    with tf.init_scope():  # values, also while a graph is traced
        kernel, gamma = conv.kernel.numpy(), norm.gamma.numpy()
        mean, variance = norm.moving_mean.numpy(), norm.moving_variance.numpy()
        beta = norm.beta.numpy() if norm.center else np.zeros_like(gamma)
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return kernel * scale, beta - mean * scale


def num_bytes(layer) -> int:
    """Bytes of all convolution kernels inside a layer."""
    convs = [inner for inner in layer._flatten_layers() if isinstance(inner, Conv)]
    return sum(conv.kernel.numpy().nbytes for conv in convs)
