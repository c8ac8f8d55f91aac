"""From the encoder's last feature map back to something of many pixels. Feature maps are [B, H, W, C]."""

import functools

import keras
import tensorflow as tf

from tf_simclr.models.layers import BatchNorm, relu
from tf_simclr.models.resnet import ConvNorm

NARROWEST = 32  # channels that halving leaves


class Decoder(keras.layers.Layer):
    """Feature map [B, h, h, C] -> [B, size, size, num_outputs], always float32.

    Stages of 3x3 convolution, batch norm, ReLU and bilinear upsampling by 2; then a 1x1 convolution with bias. Convolving
    before the upsampling costs a quarter of what it would after it, but what is linear from the last upsampling on can draw
    nothing finer than the map before it.

    Args:
        width: channels of the stages.
        fine: a last stage at full size, for what has detail; then each stage has half the channels of the one before, at least 32.
        batch_norm_decay, global_bn: see `layers.BatchNorm`.
    """

    def __init__(
        self,
        width,
        size,
        num_outputs,
        batch_norm_decay=0.9,
        global_bn=True,
        fine=False,
        name="decoder",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.width, self.size, self.fine = width, size, fine
        self.norm = functools.partial(BatchNorm, batch_norm_decay, global_bn)
        self.answer = keras.layers.Dense(
            num_outputs,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            name="answer",
            dtype="float32",
        )

    def build(self, shape):
        self.sides = doublings(shape[1], self.size) or [self.size]  # after each stage
        if self.fine:
            self.sides.append(self.size)
        widths = [
            max(self.width // 2**stage, min(self.width, NARROWEST)) if self.fine else self.width
            for stage, _ in enumerate(self.sides)
        ]
        self.stages = [
            ConvNorm(width, 3, self.norm, relu=False, name=f"stage{stage}")
            for stage, width in enumerate(widths, 1)
        ]

    def call(self, x, training=False):
        for side, stage in zip(self.sides, self.stages):
            x = relu(stage(x, training=training))
            if x.shape[1] != side:
                x = tf.cast(
                    tf.image.resize(x, [side, side]), x.dtype
                )  # [B, side, side, width]; it resizes into float32
        return self.answer(x)


def doublings(side, goal):
    """The sides on the way from `side` up to `goal`: each is half the next, rounded up as strides of 2 do. None if there is no way to go."""
    sides = []
    while goal > side:
        sides.append(goal)
        goal = -(-goal // 2)
    return sides[::-1]
