"""From the encoder's last feature map back to something of many pixels.

Feature maps are [B, H, W, C].
"""

import functools

import keras
import tensorflow as tf

from tf_simclr.models.layers import BatchNorm, relu
from tf_simclr.models.residual_blocks import ConvNorm

MIN_WIDTH = 32  # channels that halving leaves


class Decoder(keras.layers.Layer):
    """Feature map [B, h, h, C] -> [B, size, size, num_outputs], always float32.

    Stages of 3x3 convolution, batch norm, ReLU and bilinear upsampling by 2; then a 1x1 convolution
    with bias. Convolving before the upsampling costs a quarter of what it would after it, but what
    is linear from the last upsampling on can draw nothing finer than the map before it.

    Args:
        width: channels of the stages.
        size: side of the output in pixels.
        num_outputs: channels of the output.
        batch_norm_decay: momentum, see `layers.BatchNorm`.
        global_bn: statistics over all replicas, see `layers.BatchNorm`.
        fine: a last stage at full size, for what has detail; then each stage has half the channels
            of the one before, at least 32.
    """

    def __init__(
        self,
        width: int,
        size: int,
        num_outputs: int,
        batch_norm_decay: float = 0.9,
        global_bn: bool = True,
        fine: bool = False,
        name: str = "decoder",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.width = width
        self.size = size
        self.fine = fine
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
        self.stages = [
            ConvNorm(self._width_of(index), 3, self.norm, relu=False, name=f"stage{index + 1}")
            for index in range(len(self.sides))
        ]

    def _width_of(self, index):
        """Channels of a stage."""
        if not self.fine:
            return self.width
        return max(self.width // 2**index, min(self.width, MIN_WIDTH))

    def call(self, x, training=False):
        for side, stage in zip(self.sides, self.stages):
            x = relu(stage(x, training=training))
            if x.shape[1] != side:
                resized = tf.image.resize(x, [side, side])  # float32 [B, side, side, width]
                x = tf.cast(resized, x.dtype)
        return self.answer(x)


def doublings(side: int, goal: int) -> list[int]:
    """The sides on the way from `side` up to `goal`.

    Each is half the next, rounded up as strides of 2 do.

    Returns:
        Ascending; empty if there is no way to go.
    """
    sides = []
    while goal > side:
        sides.append(goal)
        goal = -(-goal // 2)
    return sides[::-1]
