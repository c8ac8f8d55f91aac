"""ResNet and its selective-kernel and squeeze-and-excite variants (SimCLR sec. 2.1, SimCLRv2 sec. 2 and app. C.2).

Feature maps are [B, H, W, C]; `w` is the width multiplier. Variables are made in the order of the papers' code:
in each block the shortcut first, then the residual branch.
"""

import functools
import itertools

import keras
import tensorflow as tf

from tf_simclr.models.layers import AGAIN, BatchNorm, Conv

BASE_CHANNELS = 64  # channels of stem and first group at width 1
CIFAR_SIZE = 32  # up to this image size the first convolution keeps the resolution


class ConvNorm(keras.layers.Layer):
    """Convolution, batch norm and, unless it is the last of a branch, ReLU."""

    def __init__(
        self, filters, kernel_size, norm, strides=1, relu=True, zero_gamma=False, **kwargs
    ):
        super().__init__(**kwargs)
        self.conv = Conv(filters, kernel_size, strides, name="conv")
        self.norm = norm(zero_gamma=zero_gamma, name="norm")
        self.relu = relu

    def call(self, x, training=False):
        x = self.norm(self.conv(x), training=training)
        return tf.nn.relu(x) if self.relu else x


class SelectiveKernel(keras.layers.Layer):
    """Two 3x3 streams weighted by attention over the channels (SK-Net), in place of the bottleneck's 3x3 convolution."""

    def __init__(self, filters, strides, ratio, norm, **kwargs):
        super().__init__(**kwargs)
        self.streams = ConvNorm(2 * filters, 3, norm, strides, name="streams")
        self.squeeze = ConvNorm(max(int(filters * ratio), 32), 1, norm, name="squeeze")
        self.excite = Conv(2 * filters, 1, name="excite")

    def call(self, x, training=False):
        both = self.streams(x, training=training)  # [B, H, W, 2F]
        first, second = tf.split(both, 2, axis=-1)
        pooled = tf.reduce_mean(first + second, [1, 2], keepdims=True)  # [B, 1, 1, F]
        weights = self.excite(self.squeeze(pooled, training=training))  # [B, 1, 1, 2F]
        # The softmax over two streams is a sigmoid of their difference.
        weight = tf.sigmoid(tf.subtract(*tf.split(weights, 2, axis=-1)))  # [B, 1, 1, F]
        return weight * first + (1 - weight) * second


class SqueezeExcite(keras.layers.Layer):
    """Channel gates from the globally pooled input; `filters` is the bottleneck's width F."""

    def __init__(self, filters, channels, ratio, **kwargs):
        super().__init__(**kwargs)
        self.squeeze = keras.layers.Dense(
            max(1, int(filters * ratio)),
            activation="relu",
            kernel_initializer=_he(),
            name="squeeze",
        )
        self.excite = keras.layers.Dense(
            channels, activation="sigmoid", kernel_initializer=_he(), name="excite"
        )

    def call(self, x):
        return x * self.excite(self.squeeze(tf.reduce_mean(x, [1, 2], keepdims=True)))


def _he():
    return keras.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal")


class Shortcut(keras.layers.Layer):
    """The projection of a group's first block: 1x1 convolution; with SK average-pooled first (ResNet-D)."""

    def __init__(self, filters, strides, norm, pool, **kwargs):
        super().__init__(**kwargs)
        self.pool, self.strides = pool, strides
        self.project = ConvNorm(
            filters, 1, norm, 1 if pool else strides, relu=False, name="project"
        )

    def call(self, x, training=False):
        if self.pool:
            if self.strides > 1:
                x = tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]])
            x = tf.nn.avg_pool2d(x, 2, self.strides, "SAME" if self.strides == 1 else "VALID")
        return self.project(x, training=training)


class Block(keras.layers.Layer):
    """A residual block: relu(shortcut(x) + branch(x)). Gamma of the branch's last batch norm starts at 0."""

    expansion: int

    def __init__(self, filters, strides, first, sk_ratio, se_ratio, norm, **kwargs):
        super().__init__(**kwargs)
        channels = filters * self.expansion
        self.shortcut = (
            Shortcut(channels, strides, norm, sk_ratio > 0, name="shortcut") if first else None
        )
        self.branch = self.make_branch(filters, strides, sk_ratio, norm)
        self.gate = SqueezeExcite(filters, channels, se_ratio, name="se") if se_ratio > 0 else None

    def call(self, x, training=False):
        residual = self.shortcut(x, training=training) if self.shortcut else x
        for layer in self.branch:
            x = layer(x, training=training)
        if self.gate:
            x = self.gate(x)
        return tf.nn.relu(x + residual)


class BasicBlock(Block):
    """Two 3x3 convolutions (ResNet-18 and 34); a selective kernel has no place in it."""

    expansion = 1

    def make_branch(self, filters, strides, sk_ratio, norm):
        return [
            ConvNorm(filters, 3, norm, strides, name="conv1"),
            ConvNorm(filters, 3, norm, relu=False, zero_gamma=True, name="conv2"),
        ]


class BottleneckBlock(Block):
    """1x1, 3x3 (or a selective kernel), 1x1 to four times the channels (ResNet-50 and deeper)."""

    expansion = 4

    def make_branch(self, filters, strides, sk_ratio, norm):
        middle = (
            SelectiveKernel(filters, strides, sk_ratio, norm, name="sk")
            if sk_ratio > 0
            else ConvNorm(filters, 3, norm, strides, name="conv2")
        )
        return [
            ConvNorm(filters, 1, norm, name="conv1"),
            middle,
            ConvNorm(4 * filters, 1, norm, relu=False, zero_gamma=True, name="conv3"),
        ]


FAMILY = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (BottleneckBlock, (3, 4, 6, 3)),
    101: (BottleneckBlock, (3, 4, 23, 3)),
    152: (BottleneckBlock, (3, 8, 36, 3)),
    200: (BottleneckBlock, (3, 24, 36, 3)),
}


class Stem(keras.layers.Layer):
    """Images -> first feature map. `layers` are (factor of the width, kernel, stride); the last one has `width` channels."""

    STANDARD = ((1.0, 7, 2),)
    SELECTIVE = ((0.5, 3, 2), (0.5, 3, 1), (1.0, 3, 1))
    CIFAR = ((1.0, 3, 1),)

    def __init__(self, width, layers, pool, norm, **kwargs):
        super().__init__(**kwargs)
        self.convs = [
            Conv(max(1, int(width * factor)), kernel, stride, name=f"conv{i}")
            for i, (factor, kernel, stride) in enumerate(layers)
        ]
        self.norms = [norm(name=f"norm{i}") for i in range(len(layers))]
        self.pool = pool

    def call(self, x, training=False):
        """(output of the last convolution before its batch norm, output of the stem)."""
        for conv, norm in zip(self.convs, self.norms):
            convolved = conv(x)
            x = tf.nn.relu(norm(convolved, training=training))
        return convolved, tf.nn.max_pool2d(x, 3, 2, "SAME") if self.pool else x


@keras.saving.register_keras_serializable("tf_simclr")
class ResNet(keras.Model):
    """The encoder f: images [B, H, W, 3] in [0, 1] -> dict of its named feature maps.

    The keys are `initial_conv`, `initial_max_pool`, `block_group1` to `block_group4` and `final_avg_pool`, the pooled
    features h [B, C] with C = 512 w, or 2048 w from depth 50 on.

    Args:
        depth: one of FAMILY. width: factor on all channels.
        sk_ratio, se_ratio: 0 is off.
        image_size: up to 32 pixels the CIFAR stem is built (3x3, stride 1, no pooling).
        batch_norm_decay, global_bn: see `layers.BatchNorm`.
        rematerialize: keep only the input of each block for the gradient, and compute the rest again (Chen et al. 2016).
    """

    def __init__(
        self,
        depth=50,
        width=1.0,
        sk_ratio=0.0,
        se_ratio=0.0,
        image_size=224,
        batch_norm_decay=0.9,
        global_bn=True,
        rematerialize=False,
        name="encoder",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self._arguments = {
            "depth": depth,
            "width": width,
            "sk_ratio": sk_ratio,
            "se_ratio": se_ratio,
            "image_size": image_size,
            "batch_norm_decay": batch_norm_decay,
            "global_bn": global_bn,
            "rematerialize": rematerialize,
            "name": name,
        }
        self._rematerialize = rematerialize
        norm = functools.partial(BatchNorm, batch_norm_decay, global_bn)
        small = image_size <= CIFAR_SIZE
        layers = Stem.CIFAR if small else Stem.SELECTIVE if sk_ratio > 0 else Stem.STANDARD
        self.stem = Stem(BASE_CHANNELS * width, layers, not small, norm, name="stem")
        block, counts = FAMILY[depth]
        filters = [max(1, int(BASE_CHANNELS * width * 2**g)) for g in range(len(counts))]
        self.feature_dim = filters[-1] * block.expansion  # C
        self.groups = [
            [
                block(
                    filters[g],
                    2 if g and not b else 1,
                    b == 0,
                    sk_ratio,
                    se_ratio,
                    norm,
                    name=f"group{g + 1}_block{b}",
                )
                for b in range(count)
            ]
            for g, count in enumerate(counts)
        ]

    def call(self, images, training=False):
        initial_conv, x = self.stem(images, training=training)
        endpoints = {"initial_conv": initial_conv, "initial_max_pool": x}
        for g, group in enumerate(self.groups, start=1):
            for block in group:
                x = (
                    rematerialized(block, x, training)
                    if self._rematerialize and training
                    else block(x, training=training)
                )
            endpoints[f"block_group{g}"] = x
        endpoints["final_avg_pool"] = tf.reduce_mean(x, [1, 2])  # [B, C]
        return endpoints

    def get_config(self):
        return self._arguments

    def freeze(self, after_block):
        """Freezes nothing (-1), the stem (0), or the stem and the groups 1 to `after_block`, batch norm statistics included."""
        if after_block >= 0:
            self.stem.trainable = False
        for group in self.groups[: max(after_block, 0)]:
            for block in group:
                block.trainable = False


def rematerialized(block, x, training):
    """block(x, training) of which the gradient keeps x alone."""
    calls = itertools.chain(
        [training], itertools.repeat(AGAIN)
    )  # batch norm must not count the batch twice
    return tf.recompute_grad(lambda x: block(x, training=next(calls)))(x)


def build(depth=50, width=1.0, sk_ratio=0.0, se_ratio=0.0, image_size=224):
    """The encoder as a plain keras.Model: images [B, H, W, 3] in [0, 1] -> features h [B, C], for anyone's `model.fit`.

    Raises:
        ValueError: a depth that does not exist.
    """
    if depth not in FAMILY:
        raise ValueError(f"depth={depth}: accepted are {', '.join(map(str, FAMILY))}")
    images = keras.Input((image_size, image_size, 3), name="images")
    features = ResNet(depth, width, sk_ratio, se_ratio, image_size)(images)["final_avg_pool"]
    return keras.Model(images, features, name=f"resnet{depth}")
