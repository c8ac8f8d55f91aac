"""What a number usually is, where what counts is how much better one is."""

import keras
import tensorflow as tf

from tf_simclr.models import moving_average


class MovingBaseline(keras.layers.Layer):
    """The moving average of a number of each step, which starts at 0. Equal on all replicas.

    Args:
        momentum: share of the average that stays.
    """

    def __init__(self, momentum: float, name: str = "moving_baseline"):
        super().__init__(name=name, dtype="float32")
        self.momentum = momentum

    def build(self, shape=None):
        """Makes the variable."""
        self.average = self.add_weight(
            name="average", shape=(), initializer="zeros", trainable=False
        )
        self.built = True

    def update(self, value: tf.Tensor):
        """One step of the average towards a float32 scalar."""
        moving_average.follow([self.average], [value], self.momentum)

    def advantage(self, value: tf.Tensor) -> tf.Tensor:
        """By how much a value is above the average: float32 scalar."""
        return value - tf.convert_to_tensor(self.average)
