"""What only context encoders have: the layer between encoder and decoder, and the adversary."""

import keras
import tensorflow as tf

from tf_simclr.models.layers import BatchNorm, Conv

WIDTH, WIDEST = 64, 512  # channels of the adversary's first convolution, and at most
SMALL = 4  # side of the map that its answer is read of
LEAK = 0.2


class ChannelwiseDense(keras.layers.Layer):
    """The channel-wise fully-connected layer (Pathak et al. 2016, sec. 3.1): [B, n, n, C] -> [B, n, n, C].

    Each of the C maps has a dense layer n² -> n² of its own, without bias: C n⁴ weights in place of the C² n⁴ that would
    connect everything. Nothing passes from one map to another.
    """

    def build(self, shape):
        places = shape[1] * shape[2]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(shape[3], places, places),
            initializer=keras.initializers.TruncatedNormal(stddev=places**-0.5),
        )

    def call(self, x):
        _, height, width, channels = x.shape
        maps = tf.reshape(x, [-1, height * width, channels])
        return tf.reshape(
            tf.einsum("bpc,cpq->bqc", maps, tf.convert_to_tensor(self.kernel)),
            [-1, height, width, channels],
        )


class Discriminator(keras.layers.Layer):
    """D of a DCGAN (Radford et al. 2016), as Pathak et al. 2016 have it: pictures [B, R, R, 3] in [0, 1] -> float32 [B], the logit of being a true one.

    4x4 convolutions with stride 2, leaky ReLU and, but for the first, batch norm, until the map is small; then one
    dense layer. batch_norm_decay, global_bn: see `layers.BatchNorm`.
    """

    def __init__(self, batch_norm_decay=0.9, global_bn=True, name="discriminator", **kwargs):
        super().__init__(name=name, **kwargs)
        self.make_norm = lambda number: BatchNorm(batch_norm_decay, global_bn, name=f"norm{number}")
        self.answer = keras.layers.Dense(1, name="answer", dtype="float32")

    def build(self, shape):
        side, self.convs = shape[1], []
        while side > SMALL or not self.convs:
            self.convs.append(
                Conv(
                    min(WIDTH * 2 ** len(self.convs), WIDEST),
                    4,
                    2,
                    name=f"conv{len(self.convs) + 1}",
                )
            )
            side = -(-side // 2)
        self.norms = [self.make_norm(number) for number in range(2, len(self.convs) + 1)]

    def call(self, pictures, training=False):
        x = tf.nn.leaky_relu(self.convs[0](2 * pictures - 1), LEAK)
        for conv, norm in zip(self.convs[1:], self.norms):
            x = tf.nn.leaky_relu(norm(conv(x), training=training), LEAK)
        return self.answer(tf.reshape(x, [-1, x.shape[1] * x.shape[2] * x.shape[3]]))[:, 0]
