"""Convolution and batch norm as the papers use them. Images and feature maps are [B, H, W, C]."""

import math

import keras
import tensorflow as tf

from tf_simclr import distribute

AGAIN = "again"  # a value of `training`: as True, for a batch that has been through the layer, so that the moving statistics of batch norm stay


# Up to these sizes of feature maps oneDNN's bfloat16 gradients of a k x k convolution are slower than matrix products (measured with AMX).
SMALL_MAPS = {1: 14, 3: 8, 7: 0}
FEW_POSITIONS = 7  # up to this size so is the convolution itself


class Conv(keras.layers.Layer):
    """2-D convolution without bias (SimCLR's ResNet). With stride > 1 the padding is symmetric whatever the size."""

    def __init__(self, filters, kernel_size, strides=1, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides

    def build(self, shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, shape[-1], self.filters),
            initializer=keras.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal"),
        )

    def call(self, x):
        if self.strides == 1:
            if (
                x.dtype == tf.bfloat16
                and max(x.shape[1] or math.inf, x.shape[2] or math.inf)
                <= SMALL_MAPS[self.kernel_size]
                and distribute.on_cpu()
            ):
                return small_convolution(x, tf.convert_to_tensor(self.kernel))
            return tf.nn.conv2d(x, self.kernel, 1, "SAME")
        before = (self.kernel_size - 1) // 2
        after = self.kernel_size - 1 - before
        x = tf.pad(x, [[0, 0], [before, after], [before, after], [0, 0]])
        return tf.nn.conv2d(x, self.kernel, self.strides, "VALID")


@tf.custom_gradient
def small_convolution(x, kernel):
    """tf.nn.conv2d with stride 1 and "SAME" of small maps, with gradients from one matrix product for each tap of the kernel.

    Args:
        x: [B, H, W, C]. kernel: [k, k, C, D], k odd.
    """
    products = kernel.shape[0] == 1 or x.shape[1] <= FEW_POSITIONS
    strides = [1, 1, 1, 1]

    def gradient(upstream):
        if products:
            of_x = _sum_over_taps(upstream, tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2]))
        else:
            of_x = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(x),
                filter=kernel,
                out_backprop=upstream,
                strides=strides,
                padding="SAME",
            )
        flat = tf.reshape(upstream, [-1, kernel.shape[3]])
        of_kernel = [tf.matmul(tap, flat, transpose_a=True) for tap in _taps(x, kernel)]
        return of_x, tf.reshape(tf.stack(of_kernel), kernel.shape)

    return _sum_over_taps(x, kernel) if products else tf.nn.conv2d(
        x, kernel, strides, "SAME"
    ), gradient


def _taps(x, kernel):
    """What each tap of the kernel sees of x: k * k tensors [B * H * W, C]."""
    size, (height, width) = kernel.shape[0], x.shape[1:3]
    radius = size // 2
    x = tf.pad(x, [[0, 0], [radius, radius], [radius, radius], [0, 0]])
    return [
        tf.reshape(x[:, i : i + height, j : j + width], [-1, x.shape[3]])
        for i in range(size)
        for j in range(size)
    ]


def _sum_over_taps(x, kernel):
    products = [
        tf.matmul(tap, weights)
        for tap, weights in zip(
            _taps(x, kernel), tf.unstack(tf.reshape(kernel, [-1, *kernel.shape[2:]]))
        )
    ]
    return tf.reshape(tf.add_n(products), [-1, *x.shape[1:3], kernel.shape[3]])


class BatchNorm(keras.layers.Layer):
    """Batch normalisation of [B, H, W, C] or [B, C] over all but the last axis.

    On one replica it is TensorFlow's fused kernel; over many, with `synchronized`, one all-reduce of
    (sum x, sum x^2, count) makes statistics and gradients those of one big batch. A frozen layer (`trainable=False`)
    always runs in inference mode. Statistics are kept in float32; `training=AGAIN` leaves them as they are.

    Args:
        momentum: of the moving statistics.
        synchronized: statistics over all replicas; otherwise each normalises by its own, and the moving ones average.
        center: whether there is a beta.
        zero_gamma: start gamma at 0 instead of 1.
    """

    def __init__(
        self, momentum=0.9, synchronized=True, center=True, zero_gamma=False, epsilon=1e-5, **kwargs
    ):
        super().__init__(**kwargs)
        self.momentum, self.synchronized, self.center = momentum, synchronized, center
        self.zero_gamma, self.epsilon = zero_gamma, epsilon

    def build(self, shape):
        def weight(name, initializer, **kwargs):
            return self.add_weight(
                name=name, shape=(shape[-1],), initializer=initializer, autocast=False, **kwargs
            )

        # Synchronised statistics are equal on all replicas already; averaging them again would cost a collective each.
        merge = "none" if self.synchronized else "mean"
        self.gamma = weight("gamma", "zeros" if self.zero_gamma else "ones")
        if self.center:
            self.beta = weight("beta", "zeros")
        self.moving_mean = weight("moving_mean", "zeros", trainable=False, aggregation=merge)
        self.moving_variance = weight("moving_variance", "ones", trainable=False, aggregation=merge)

    def call(self, x, training=False):
        if not (training and self.trainable):
            return self._fused(x, self.moving_mean, self.moving_variance)[0]
        if self.synchronized and distribute.replica_count() > 1:
            mean, variance = self._global_moments(x)
            y = tf.nn.batch_normalization(
                tf.cast(x, tf.float32), mean, variance, self._beta(), self.gamma, self.epsilon
            )
            y = tf.cast(y, x.dtype)
        else:
            y, mean, variance = self._fused(x)
            count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
            variance *= (
                count - 1
            ) / count  # the kernel returns the unbiased variance; the moving one is the biased
        if training is AGAIN:
            return y
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(self.momentum * moving + (1 - self.momentum) * batch)
        return y

    def _beta(self):
        return (
            tf.convert_to_tensor(self.beta)
            if self.center
            else tf.zeros_like(tf.convert_to_tensor(self.gamma))
        )

    def _fused(self, x, mean=None, variance=None):
        flat = x if x.shape.rank == 4 else x[:, None, None, :]
        y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            flat,
            tf.convert_to_tensor(self.gamma),
            self._beta(),
            None if mean is None else tf.convert_to_tensor(mean),
            None if variance is None else tf.convert_to_tensor(variance),
            epsilon=self.epsilon,
            is_training=mean is None,
        )
        return tf.reshape(y, tf.shape(x)) if x.shape.rank != 4 else y, mean, variance

    def _global_moments(self, x):
        x = tf.cast(x, tf.float32)
        axes = list(range(x.shape.rank - 1))
        count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
        sums = distribute.all_sum(
            tf.concat([tf.reduce_sum(x, axes), tf.reduce_sum(tf.square(x), axes), count[None]], 0)
        )  # [2C + 1]
        mean, square = tf.split(sums[:-1] / sums[-1], 2)
        return mean, tf.maximum(square - tf.square(mean), 0.0)


def relu(x):
    """tf.nn.relu that leaves NaN what it is: of that one and a batch norm graphs on a CPU make one kernel, in which it becomes 0 and the loss looks sound."""
    return tf.maximum(x, tf.zeros([], x.dtype))


def batch_norm_variables(layer):
    """The variables of all batch norm layers inside `layer`, in a set of their ids."""
    return {
        id(v)
        for part in layer._flatten_layers()
        if isinstance(part, BatchNorm)
        for v in part.variables
    }


def num_parameters(layer):
    """How many numbers `layer` learns, frozen or not; the statistics of batch norm are not among them."""
    norms = [part for part in layer._flatten_layers() if isinstance(part, BatchNorm)]
    statistics = {id(v) for norm in norms for v in (norm.moving_mean, norm.moving_variance)}
    return sum(math.prod(v.shape) for v in layer.variables if id(v) not in statistics)
