"""How many steps a training has done, where the objective depends on it."""

import keras
import tensorflow as tf


class StepCounter(keras.layers.Layer):
    """Counts the steps in a variable, so that a run resumes where it was. Equal on all replicas."""

    def __init__(self, name: str = "step_counter", **kwargs):
        super().__init__(name=name, **kwargs)

    def build(self, shape=None):
        """Makes the variable."""
        self.steps = self.add_weight(
            name="steps", shape=(), initializer="zeros", dtype="int64", trainable=False
        )
        self.built = True

    def advance(self):
        """One more step."""
        self.steps.assign_add(tf.constant(1, tf.int64))

    def value(self) -> tf.Tensor:
        """int64 scalar."""
        return tf.convert_to_tensor(self.steps)
