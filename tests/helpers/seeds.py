"""A seed of TensorFlow that is set again, as each run in a process does, changes nothing.

TensorFlow would prepare all functions anew: half a second for those that decode images.
"""

import tensorflow as tf


class SetSeed:
    """In the place of `tf.random.set_seed`."""

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
