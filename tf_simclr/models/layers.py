"""Convolution and batch norm as the papers use them.

Images and feature maps are [B, H, W, C].
"""

import contextlib
import math
import threading
from collections.abc import Callable

import keras
import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.models.convolution import convolution

_pass = threading.local()  # replicas are traced in threads of their own


@contextlib.contextmanager
def repeated_pass():
    """While active, batches have been through the layers before in this training step.

    Batch norm normalizes as in training, but its moving statistics stay: they have counted the
    batch already. Active for the functions that this thread traces or runs.
    """
    was_active = in_repeated_pass()
    _pass.is_active = True
    try:
        yield
    finally:
        _pass.is_active = was_active


def in_repeated_pass() -> bool:
    """Whether `repeated_pass` is active."""
    return getattr(_pass, "is_active", False)


def rematerialized(function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """function(x), in training, of which the gradient keeps x alone and computes the rest again."""
    num_calls = 0

    def run(x):
        nonlocal num_calls
        num_calls += 1
        if num_calls == 1:
            return function(x)
        with repeated_pass():  # batch norm must not count the batch twice
            return function(x)

    return tf.recompute_grad(run)(x)


@contextlib.contextmanager
def float32_policy():
    """While active, new layers have float32 weights and compute in float32."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


class Composite(keras.layers.Layer):
    """A layer that is made of layers.

    Without a `build` of its own Keras would trace `call` once more, at each level of nesting.
    """

    def build(self, shape):
        """Nothing: each inner layer makes its variables when it is first called."""


class Conv(keras.layers.Layer):
    """2-D convolution without bias (SimCLR's ResNet).

    With stride > 1 the padding is symmetric whatever the size.

    Args:
        filters: output channels.
        kernel_size: side of the kernel.
        strides: of both axes.
    """

    def __init__(self, filters: int, kernel_size: int, strides: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides

    def build(self, shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, shape[-1], self.filters),
            initializer=keras.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal"),
        )

    def call(self, x):
        return self.convolve(x, self.kernel)

    def convolve(self, x, kernel):
        """The convolution of x [B, H, W, C] with another kernel [k, k, C, D]."""
        if self.strides == 1:
            return convolution(x, tf.convert_to_tensor(kernel))
        before = (self.kernel_size - 1) // 2
        after = self.kernel_size - 1 - before
        x = tf.pad(x, [[0, 0], [before, after], [before, after], [0, 0]])
        return tf.nn.conv2d(x, kernel, self.strides, "VALID")


class BatchNorm(keras.layers.Layer):
    """Batch normalization of [B, H, W, C] or [B, C] over all but the last axis.

    On one replica it is TensorFlow's fused kernel; over many, with `synchronized`, one all-reduce
    of (sum x, sum x^2, count) makes statistics and gradients those of one big batch. A frozen layer
    (`trainable=False`) always runs in inference mode. Statistics are kept in float32; in a
    `repeated_pass` they stay as they are.

    Args:
        momentum: of the moving statistics.
        synchronized: statistics over all replicas; otherwise each normalizes by its own, and the
            moving ones average.
        center: whether there is a beta.
        zero_gamma: start gamma at 0 instead of 1.
        epsilon: added to the variance.
    """

    def __init__(
        self,
        momentum: float = 0.9,
        synchronized: bool = True,
        center: bool = True,
        zero_gamma: bool = False,
        epsilon: float = 1e-5,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.momentum = momentum
        self.synchronized = synchronized
        self.center = center
        self.zero_gamma = zero_gamma
        self.epsilon = epsilon

    def build(self, shape):
        def weight(name, initializer, **kwargs):
            return self.add_weight(
                name=name, shape=(shape[-1],), initializer=initializer, autocast=False, **kwargs
            )

        # Synchronized statistics are equal on all replicas already; averaging them again would
        # cost a collective each.
        aggregation = "none" if self.synchronized else "mean"
        self.gamma = weight("gamma", "zeros" if self.zero_gamma else "ones")
        if self.center:
            self.beta = weight("beta", "zeros")
        self.moving_mean = weight("moving_mean", "zeros", trainable=False, aggregation=aggregation)
        self.moving_variance = weight(
            "moving_variance", "ones", trainable=False, aggregation=aggregation
        )

    def call(self, x, training=False):
        if not (training and self.trainable):
            y, _, _ = self._fused(x, self.moving_mean, self.moving_variance)
            return y
        if self.synchronized and distribute.replica_count() > 1:
            mean, variance = self._global_moments(x)
            y = tf.nn.batch_normalization(
                tf.cast(x, tf.float32), mean, variance, self._beta(), self.gamma, self.epsilon
            )
            y = tf.cast(y, x.dtype)
        else:
            y, mean, variance = self._fused(x)
            count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
            # The kernel returns the unbiased variance; the moving one is the biased.
            variance *= (count - 1) / count
        if not in_repeated_pass():
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, variance)
        return y

    def _move(self, moving, batch):
        moving.assign(self.momentum * moving + (1 - self.momentum) * batch)

    def _beta(self):
        if self.center:
            return tf.convert_to_tensor(self.beta)
        return tf.zeros_like(tf.convert_to_tensor(self.gamma))

    def _fused(self, x, mean=None, variance=None):
        """(normalized x, mean [C], variance [C]); by the statistics of x if none are given."""
        is_map = x.shape.rank == 4
        is_training = mean is None
        y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            x if is_map else x[:, None, None, :],
            tf.convert_to_tensor(self.gamma),
            self._beta(),
            None if is_training else tf.convert_to_tensor(mean),
            None if is_training else tf.convert_to_tensor(variance),
            epsilon=self.epsilon,
            is_training=is_training,
        )
        if not is_map:
            y = tf.reshape(y, tf.shape(x))
        return y, mean, variance

    def _global_moments(self, x):
        """(mean [C], variance [C]) over all replicas."""
        x = tf.cast(x, tf.float32)
        axes = list(range(x.shape.rank - 1))
        count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
        sums = [tf.reduce_sum(x, axes), tf.reduce_sum(tf.square(x), axes), count[None]]
        sums = distribute.all_sum(tf.concat(sums, 0))  # [2C + 1]
        mean, mean_of_squares = tf.split(sums[:-1] / sums[-1], 2)
        return mean, tf.maximum(mean_of_squares - tf.square(mean), 0.0)


def relu(x: tf.Tensor) -> tf.Tensor:
    """tf.nn.relu that leaves NaN what it is.

    On a CPU graphs make one kernel of tf.nn.relu and a batch norm, in which NaN becomes 0 and the
    loss looks sound.
    """
    return tf.maximum(x, tf.zeros([], x.dtype))


def _batch_norms(layer):
    kinds = (BatchNorm, keras.layers.BatchNormalization)
    return [inner for inner in layer._flatten_layers() if isinstance(inner, kinds)]


def batch_norm_variables(layer: keras.layers.Layer) -> set[int]:
    """The ids of the variables of all batch norm layers inside `layer`."""
    return {id(v) for norm in _batch_norms(layer) for v in norm.variables}


def learns_statistics(layer: keras.layers.Layer) -> bool:
    """Whether a batch norm inside `layer` is not frozen: it uses a batch's own in training."""
    return any(norm.trainable for norm in _batch_norms(layer))


def num_parameters(layer: keras.layers.Layer) -> int:
    """How many numbers `layer` learns, frozen or not, without the statistics of batch norm."""
    statistics = set()
    for norm in _batch_norms(layer):
        statistics |= {id(norm.moving_mean), id(norm.moving_variance)}
    return sum(math.prod(v.shape) for v in layer.variables if id(v) not in statistics)
