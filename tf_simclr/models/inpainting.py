"""What only context encoders have: the layer between encoder and decoder, and the adversary."""

import keras
import tensorflow as tf

from tf_simclr.models.layers import BatchNorm, Conv

# Channels of the adversary's first convolution, and at most.
FIRST_WIDTH = 64
MAX_WIDTH = 512
LAST_SIDE = 4  # side of the map that its answer is read of
LEAK = 0.2


class ChannelwiseDense(keras.layers.Layer):
    """The channel-wise fully-connected layer: [B, n, n, C] -> [B, n, n, C].

    Each of the C maps has a dense layer n² -> n² of its own, without bias: C n⁴ weights in place
    of the C² n⁴ that would connect everything. Nothing passes from one map to another.

    Source: Pathak et al. 2016, section 3.1.
    """

    def build(self, shape):
        _, height, width, channels = shape
        positions = height * width
        self.kernel = self.add_weight(
            name="kernel",
            shape=(channels, positions, positions),
            initializer=keras.initializers.TruncatedNormal(stddev=positions**-0.5),
        )

    def call(self, x):
        _, height, width, channels = x.shape
        maps = tf.reshape(x, [-1, height * width, channels])
        connected = tf.einsum("bpc,cpq->bqc", maps, tf.convert_to_tensor(self.kernel))
        return tf.reshape(connected, [-1, height, width, channels])


class Discriminator(keras.layers.Layer):
    """D of a DCGAN (Radford et al. 2016), as Pathak et al. 2016 have it.

    Pictures [B, R, R, 3] in [0, 1] -> float32 [B], the logit of being a true one. 4x4 convolutions
    with stride 2, leaky ReLU and, but for the first, batch norm, until the map is small; then one
    dense layer.

    Args:
        batch_norm_decay: momentum, see `layers.BatchNorm`.
        global_bn: statistics over all replicas, see `layers.BatchNorm`.
    """

    def __init__(
        self,
        batch_norm_decay: float = 0.9,
        global_bn: bool = True,
        name: str = "discriminator",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.batch_norm_decay = batch_norm_decay
        self.global_bn = global_bn
        self.answer = keras.layers.Dense(1, name="answer", dtype="float32")

    def build(self, shape):
        num_convs = _num_convolutions(shape[1])
        self.convs = [
            Conv(min(FIRST_WIDTH * 2**index, MAX_WIDTH), 4, 2, name=f"conv{index + 1}")
            for index in range(num_convs)
        ]
        self.norms = [
            BatchNorm(self.batch_norm_decay, self.global_bn, name=f"norm{number}")
            for number in range(2, num_convs + 1)
        ]

    def call(self, pictures, training=False):
        x = tf.nn.leaky_relu(self.convs[0](2 * pictures - 1), LEAK)
        for conv, norm in zip(self.convs[1:], self.norms):
            x = tf.nn.leaky_relu(norm(conv(x), training=training), LEAK)
        _, height, width, channels = x.shape
        flat = tf.reshape(x, [-1, height * width * channels])
        return self.answer(flat)[:, 0]


def _num_convolutions(side):
    """How many halvings make a map small, at least one."""
    count = 0
    while side > LAST_SIDE or not count:
        count += 1
        side = -(-side // 2)
    return count
