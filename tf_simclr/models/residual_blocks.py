"""Residual blocks, with selective kernels and squeeze-and-excite.

Source: SimCLR section 2.1, SimCLRv2 section 2 and appendix C.2. Feature maps are [B, H, W, C].
Variables are made in the order of the original SimCLR release (Google Research's code): in each
block the shortcut first, then the residual branch.
"""

import itertools

import keras
import tensorflow as tf

from tf_simclr.models.folding import conv_norm
from tf_simclr.models.layers import Composite, Conv, rematerialized

MIN_SQUEEZED_CHANNELS = 32  # of a selective kernel


class ConvNorm(Composite):
    """Convolution, batch norm and, unless it is the last of a branch, ReLU.

    Args:
        filters: output channels.
        kernel_size: side of the kernel.
        norm: a function that makes a `BatchNorm`.
        strides: of both axes.
        relu: whether it ends in ReLU.
        zero_gamma: see `BatchNorm`.
    """

    def __init__(
        self, filters, kernel_size, norm, strides=1, relu=True, zero_gamma=False, **kwargs
    ):
        super().__init__(**kwargs)
        self.conv = Conv(filters, kernel_size, strides, name="conv")
        self.norm = norm(zero_gamma=zero_gamma, name="norm")
        self.relu = relu

    def call(self, x, training=False):
        return self._activate(conv_norm(self.conv, self.norm, x, training))

    def convolution(self, x):
        """The first half in training."""
        return self.conv(x)

    def after_convolution(self, x, training):
        """The second half: batch norm, and ReLU."""
        return self._activate(self.norm(x, training=training))

    def _activate(self, x):
        return tf.nn.relu(x) if self.relu else x


class SelectiveKernel(Composite):
    """Two 3x3 streams weighted by attention over the channels (SK-Net).

    It stands in place of the bottleneck's 3x3 convolution.

    Args:
        filters: channels F.
        strides: of both axes.
        ratio: of the squeezed channels to F.
        norm: a function that makes a `BatchNorm`.
    """

    def __init__(self, filters, strides, ratio, norm, **kwargs):
        super().__init__(**kwargs)
        squeezed = max(int(filters * ratio), MIN_SQUEEZED_CHANNELS)
        self.streams = ConvNorm(2 * filters, 3, norm, strides, name="streams")
        self.squeeze = ConvNorm(squeezed, 1, norm, name="squeeze")
        self.excite = Conv(2 * filters, 1, name="excite")

    def call(self, x, training=False):
        return self._weigh(self.streams(x, training=training), training)

    def convolution(self, x):
        """The first half in training: that of both streams."""
        return self.streams.convolution(x)

    def after_convolution(self, x, training):
        """The second half: batch norm, ReLU and attention."""
        return self._weigh(self.streams.after_convolution(x, training), training)

    def _weigh(self, streams, training):
        """Both streams [B, H, W, 2F] -> their weighted sum [B, H, W, F]."""
        first, second = tf.split(streams, 2, axis=-1)
        pooled = tf.reduce_mean(first + second, [1, 2], keepdims=True)  # [B, 1, 1, F]
        squeezed = self.squeeze(pooled, training=training)
        first_logit, second_logit = tf.split(self.excite(squeezed), 2, axis=-1)
        # The softmax over two streams is a sigmoid of their difference.
        weight = tf.sigmoid(tf.subtract(first_logit, second_logit))  # [B, 1, 1, F]
        return weight * first + (1 - weight) * second


class SqueezeExcite(Composite):
    """Channel gates from the globally pooled input.

    Args:
        filters: the bottleneck's width F.
        channels: of the input.
        ratio: of the squeezed channels to F.
    """

    def __init__(self, filters, channels, ratio, **kwargs):
        super().__init__(**kwargs)
        self.squeeze = keras.layers.Dense(
            max(1, int(filters * ratio)),
            activation="relu",
            kernel_initializer=_he_initializer(),
            name="squeeze",
        )
        self.excite = keras.layers.Dense(
            channels, activation="sigmoid", kernel_initializer=_he_initializer(), name="excite"
        )

    def call(self, x):
        pooled = tf.reduce_mean(x, [1, 2], keepdims=True)  # [B, 1, 1, C]
        return x * self.excite(self.squeeze(pooled))


def _he_initializer():
    return keras.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal")


class Shortcut(Composite):
    """The projection of a group's first block: 1x1 convolution, with SK average-pooled first.

    Source: ResNet-D (He et al. 2019) for the pooling.

    Args:
        filters: output channels.
        strides: of both axes.
        norm: a function that makes a `BatchNorm`.
        pool: whether the strides are those of an average pooling.
    """

    def __init__(self, filters, strides, norm, pool, **kwargs):
        super().__init__(**kwargs)
        self.pool = pool
        self.strides = strides
        conv_strides = 1 if pool else strides
        self.project = ConvNorm(filters, 1, norm, conv_strides, relu=False, name="project")

    def call(self, x, training=False):
        if self.pool and self.strides > 1:
            x = tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]])
            x = tf.nn.avg_pool2d(x, 2, self.strides, "VALID")
        elif self.pool:
            x = tf.nn.avg_pool2d(x, 2, self.strides, "SAME")
        return self.project(x, training=training)


class Block(Composite):
    """A residual block: relu(shortcut(x) + branch(x)).

    Gamma of the branch's last batch norm starts at 0.

    Args:
        filters: width F of the branch.
        strides: of both axes.
        first: whether it is the first block of a group, which has a `Shortcut`.
        sk_ratio: see `SelectiveKernel`; 0: none.
        se_ratio: see `SqueezeExcite`; 0: none.
        norm: a function that makes a `BatchNorm`.
        recomputes_norms: whether batch norm and ReLU between its convolutions are computed again,
            see `rematerialize` of `ResNet`.
    """

    expansion: int  # output channels for each filter

    def __init__(
        self, filters, strides, first, sk_ratio, se_ratio, norm, recomputes_norms=False, **kwargs
    ):
        super().__init__(**kwargs)
        self.recomputes_norms = recomputes_norms
        channels = filters * self.expansion
        has_kernels = sk_ratio > 0
        self.shortcut = None
        if first:
            self.shortcut = Shortcut(channels, strides, norm, has_kernels, name="shortcut")
        self.branch = self.make_branch(filters, strides, sk_ratio, norm)
        self.gate = None
        if se_ratio > 0:
            self.gate = SqueezeExcite(filters, channels, se_ratio, name="se")

    def make_branch(self, filters, strides, sk_ratio, norm) -> list:
        """The layers of the residual branch."""
        raise NotImplementedError

    def call(self, x, training=False):
        residual = self.shortcut(x, training=training) if self.shortcut else x
        if self.recomputes_norms and training:
            x = self._branch_of_convolutions(x)
        else:
            for layer in self.branch:
                x = layer(x, training=training)
        if self.gate:
            x = self.gate(x)
        return tf.nn.relu(x + residual)

    def _branch_of_convolutions(self, x):
        """The branch in training, of which the gradient keeps the outputs of convolutions alone.

        What is between two convolutions is computed again. So is, in the graph, the second of them,
        but nothing reads its output and it is not run: the gradient needs its input alone.

        Its layers are not called as a whole, so variables have to exist, which are named by calls.
        """
        x = self.branch[0].convolution(x)
        for layer, following in itertools.pairwise(self.branch):

            def to_next(x, layer=layer, following=following):
                return following.convolution(layer.after_convolution(x, training=True))

            x = rematerialized(to_next, x)
        return self.branch[-1].after_convolution(x, training=True)


class BasicBlock(Block):
    """Two 3x3 convolutions (ResNet-18 and 34); a selective kernel has no place in it."""

    expansion = 1

    def make_branch(self, filters, strides, sk_ratio, norm):
        """Two 3x3 convolutions."""
        return [
            ConvNorm(filters, 3, norm, strides, name="conv1"),
            ConvNorm(filters, 3, norm, relu=False, zero_gamma=True, name="conv2"),
        ]


class BottleneckBlock(Block):
    """1x1, 3x3 (or a selective kernel), 1x1 to four times the channels (ResNet-50 and deeper)."""

    expansion = 4

    def make_branch(self, filters, strides, sk_ratio, norm):
        """1x1, 3x3 or a selective kernel, 1x1."""
        if sk_ratio > 0:
            middle = SelectiveKernel(filters, strides, sk_ratio, norm, name="sk")
        else:
            middle = ConvNorm(filters, 3, norm, strides, name="conv2")
        channels = filters * self.expansion
        return [
            ConvNorm(filters, 1, norm, name="conv1"),
            middle,
            ConvNorm(channels, 1, norm, relu=False, zero_gamma=True, name="conv3"),
        ]
