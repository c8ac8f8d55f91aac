"""The features of all images, as they were when each was last seen.

Source: Wu et al. 2018, section 3.1.
"""

import keras
import tensorflow as tf


class MemoryBank(keras.layers.Layer):
    """A feature of length 1 for each image, float32. Equal on all replicas.

    Args:
        num_images: N.
        momentum: share of a feature that stays when its image is seen.
        seed: two integers, of the features before an image is seen.
    """

    def __init__(
        self,
        num_images: int,
        momentum: float,
        *,
        seed: tuple[int, int],
        name: str = "memory_bank",
        **kwargs,
    ):
        super().__init__(name=name, dtype="float32", **kwargs)
        self.num_images = num_images
        self.momentum = momentum
        self.seed = seed

    def build(self, shape):
        """Makes the variable for features [n, d]."""
        self.features = self.add_weight(
            name="features",
            shape=(self.num_images, shape[-1]),
            initializer=self._random_directions,
            trainable=False,
        )
        self.built = True

    def _random_directions(self, shape, dtype=None):
        """Random vectors of length 1, float32 [N, d]; equal on all replicas."""
        seed = tf.constant(self.seed, tf.int64)
        return tf.math.l2_normalize(tf.random.stateless_normal(shape, seed), -1)

    def values(self) -> tf.Tensor:
        """float32 [N, d]."""
        return tf.convert_to_tensor(self.features)

    def update(self, index: tf.Tensor, features: tf.Tensor):
        """Moves the features of images towards new ones.

        Args:
            index: int64 [n], the images; one that comes twice moves towards the mean of both.
            features: float32 [n, d], of length 1.
        """
        is_same = tf.cast(index[:, None] == index, tf.float32)  # [n, n]
        count = tf.reduce_sum(is_same, -1, keepdims=True)
        means = tf.matmul(is_same, features) / count
        bank = self.values()
        moved = self.momentum * tf.gather(bank, index) + (1 - self.momentum) * means
        moved = tf.math.l2_normalize(moved, -1)
        self.features.assign(tf.tensor_scatter_nd_update(bank, index[:, None], moved))
