"""Predicts patches of an image from those above them, by masked convolutions over their grid.

Source: Hénaff et al. 2020, "Data-Efficient Image Recognition with Contrastive Predictive Coding",
section 2.1 and the pseudo-code in its appendix.
"""

import keras
import tensorflow as tf

from tf_simclr.models.layers import Composite

NUM_BLOCKS = 5
NUM_DIRECTIONS = 4  # in each of which a network of its own predicts
ROWS, COLUMNS = 2, 3  # axes of features [B, D, n, n, C]


def _dense(inputs, units, name, **options):
    """A dense layer for each direction: [B, D, n, n, inputs] -> [B, D, n, n, units]."""
    # Said in numbers: some versions of Keras count the directions among the inputs.
    initializer = keras.initializers.TruncatedNormal(stddev=inputs**-0.5)
    return keras.layers.EinsumDense(
        "bdrci,dio->bdrco",
        (NUM_DIRECTIONS, None, None, units),
        bias_axes="do",
        kernel_initializer=initializer,
        name=name,
        **options,
    )


def _padded(x, axis, before, after):
    """x with so many zeros before and after what it has along an axis."""
    paddings = [[0, 0]] * len(x.shape)
    paddings[axis] = [before, after]
    return tf.pad(x, paddings)


class ContextBlock(Composite):
    """Adds to each cell what is beside it and above it.

    Args:
        channels: of input and output.
        width: channels inside.
    """

    def __init__(self, channels: int, width: int, **kwargs):
        super().__init__(**kwargs)
        self.reduce = _dense(channels, width, "reduce")
        self.across = _dense(3 * width, width, "across")
        self.down = _dense(2 * width, width, "down")
        self.expand = _dense(width, channels, "expand")

    def call(self, x):
        y = tf.nn.relu(self.reduce(x))
        padded = _padded(y, COLUMNS, 1, 1)
        beside = tf.concat([padded[..., :-2, :], y, padded[..., 2:, :]], -1)
        y = self.across(beside)
        padded = _padded(y, ROWS, 1, 0)
        above = tf.concat([padded[:, :, :-1], y], -1)
        y = tf.nn.relu(self.down(above))
        return x + self.expand(y)


class ContextNetwork(keras.layers.Layer):
    """Features [B, D, n, n, C] of patches -> predictions [B, D, n, n, K, d], always float32.

    The K predictions of a cell are of rows below it; they depend on its own row and those above.

    Args:
        width: channels inside of a block.
        num_predictions: K.
        dim: d.
    """

    def __init__(self, width: int, num_predictions: int, dim: int, name: str = "context", **kwargs):
        super().__init__(name=name, **kwargs)
        self.width = width
        self.num_predictions = num_predictions
        self.dim = dim

    def build(self, shape):
        channels = shape[-1]
        self.blocks = [
            ContextBlock(channels, self.width, name=f"block{number}")
            for number in range(NUM_BLOCKS)
        ]
        num_answers = self.num_predictions * self.dim
        self.answer = _dense(channels, num_answers, "answer", dtype="float32")

    def call(self, features):
        for block in self.blocks:
            features = block(features)
        answers = self.answer(tf.nn.relu(features))
        return tf.reshape(answers, [*answers.shape[:-1], self.num_predictions, self.dim])
