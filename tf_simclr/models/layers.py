"""Convolution and batch norm as the papers use them. Images and feature maps are [B, H, W, C]."""

import math

import keras
import tensorflow as tf

from tf_simclr import distribute

AGAIN = "again"  # a value of `training`: as True, for a batch that has been through the layer, so that the moving statistics of batch norm stay


class Conv(keras.layers.Layer):
    """2-D convolution without bias (SimCLR's ResNet). With stride > 1 the padding is symmetric whatever the size."""

    def __init__(self, filters, kernel_size, strides=1, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides

    def build(self, shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, shape[-1], self.filters),
            initializer=keras.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal"))

    def call(self, x):
        if self.strides == 1:
            return tf.nn.conv2d(x, self.kernel, 1, "SAME")
        before = (self.kernel_size - 1) // 2
        after = self.kernel_size - 1 - before
        x = tf.pad(x, [[0, 0], [before, after], [before, after], [0, 0]])
        return tf.nn.conv2d(x, self.kernel, self.strides, "VALID")


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

    def __init__(self, momentum=0.9, synchronized=True, center=True, zero_gamma=False, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.momentum, self.synchronized, self.center = momentum, synchronized, center
        self.zero_gamma, self.epsilon = zero_gamma, epsilon

    def build(self, shape):
        def weight(name, initializer, **kwargs):
            return self.add_weight(name=name, shape=(shape[-1],), initializer=initializer, autocast=False, **kwargs)

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
            y = tf.nn.batch_normalization(tf.cast(x, tf.float32), mean, variance, self._beta(), self.gamma, self.epsilon)
            y = tf.cast(y, x.dtype)
        else:
            y, mean, variance = self._fused(x)
            count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
            variance *= (count - 1) / count  # the kernel returns the unbiased variance; the moving one is the biased
        if training is AGAIN:
            return y
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(self.momentum * moving + (1 - self.momentum) * batch)
        return y

    def _beta(self):
        return tf.convert_to_tensor(self.beta) if self.center else tf.zeros_like(tf.convert_to_tensor(self.gamma))

    def _fused(self, x, mean=None, variance=None):
        flat = x if x.shape.rank == 4 else x[:, None, None, :]
        y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            flat, tf.convert_to_tensor(self.gamma), self._beta(),
            None if mean is None else tf.convert_to_tensor(mean), None if variance is None else tf.convert_to_tensor(variance),
            epsilon=self.epsilon, is_training=mean is None)
        return tf.reshape(y, tf.shape(x)) if x.shape.rank != 4 else y, mean, variance

    def _global_moments(self, x):
        x = tf.cast(x, tf.float32)
        axes = list(range(x.shape.rank - 1))
        count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
        sums = distribute.all_sum(tf.concat([tf.reduce_sum(x, axes), tf.reduce_sum(tf.square(x), axes), count[None]], 0))  # [2C + 1]
        mean, square = tf.split(sums[:-1] / sums[-1], 2)
        return mean, tf.maximum(square - tf.square(mean), 0.0)


def batch_norm_variables(layer):
    """The variables of all batch norm layers inside `layer`, in a set of their ids."""
    return {id(v) for part in layer._flatten_layers() if isinstance(part, BatchNorm) for v in part.variables}


def num_parameters(layer):
    """How many numbers `layer` learns, frozen or not; the statistics of batch norm are not among them."""
    norms = [part for part in layer._flatten_layers() if isinstance(part, BatchNorm)]
    statistics = {id(v) for norm in norms for v in (norm.moving_mean, norm.moving_variance)}
    return sum(math.prod(v.shape) for v in layer.variables if id(v) not in statistics)
