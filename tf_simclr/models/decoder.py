"""From the encoder's last feature map back to something of many pixels. Feature maps are [B, H, W, C]."""

import keras
import tensorflow as tf

from tf_simclr.models.layers import BatchNorm, Conv


class Decoder(keras.layers.Layer):
    """Feature maps [B, h, h, C] -> [B, n, n, num_outputs], always float32, where n is `size`, or h if that is more.

    A 3x3 convolution without bias, batch norm and ReLU, then bilinear upsampling by 2, as often as it takes; a 1x1 convolution
    with bias ends it. Convolving before the upsampling costs a quarter of what it would after it.

    Args:
        width: channels of the 3x3 convolutions.
    """

    def __init__(self, width, size, num_outputs, batch_norm_decay=0.9, global_bn=True, name="decoder", **kwargs):
        super().__init__(name=name, **kwargs)
        self.width, self.size = width, size
        self.make_norm = lambda name: BatchNorm(batch_norm_decay, global_bn, name=name)
        self.answer = keras.layers.Dense(num_outputs, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01), name="answer", dtype="float32")

    def build(self, shape):
        self.sides = doublings(shape[1], self.size) or [shape[1]]  # after each convolution
        self.convs = [Conv(self.width, 3, name=f"conv{number}") for number, _ in enumerate(self.sides, 1)]
        self.norms = [self.make_norm(f"norm{number}") for number, _ in enumerate(self.sides, 1)]
        for conv, norm in zip(self.convs, self.norms):
            conv.build(shape)
            shape = [*shape[:-1], self.width]
            norm.build(shape)
        self.answer.build(shape)

    def call(self, x, training=False):
        for conv, norm, side in zip(self.convs, self.norms, self.sides):
            x = tf.nn.relu(norm(conv(x), training=training))
            x = tf.cast(tf.image.resize(x, [side, side]), x.dtype)  # [B, side, side, width]; it resizes into float32
        return self.answer(x)


def doublings(side, goal):
    """The sides on the way from `side` up to `goal`: each is half the next, rounded up as strides of 2 do. None if there is no way to go."""
    sides = []
    while goal > side:
        sides.append(goal)
        goal = -(-goal // 2)
    return sides[::-1]
