"""Seeds of weights and of TensorFlow."""

import contextlib
import random

import tensorflow as tf


@contextlib.contextmanager
def seed_of_weights(seed):
    """Keras draws the seeds of its layers with Python's generator, which is as before then.

    What several tests share is the same whichever test makes it, and so are those after it.
    """
    state = random.getstate()
    random.seed(seed)
    yield
    random.setstate(state)


class SetSeed:
    """In the place of `tf.random.set_seed`: a seed that is set again changes nothing.

    Each run in a process does so, and TensorFlow would prepare all functions anew: half a second
    for those that decode images.
    """

    def __init__(self):
        self._set_seed = tf.random.set_seed
        self._current = None

    def __call__(self, seed):
        if not tf.executing_eagerly():  # of the graph alone
            self._set_seed(seed)
        elif seed != self._current:
            self.reset(seed)

    def reset(self, seed):
        """Begins again, also with the same seed."""
        self._set_seed(seed)
        self._current = seed
