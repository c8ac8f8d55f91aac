"""Past keys of a key network, or past features of a teacher, as further negatives.

Source: MoCo (He et al. 2020), section 3.2.
"""

import keras
import tensorflow as tf


class MemoryQueue(keras.layers.Layer):
    """The newest keys, float32, in a ring. Equal on all replicas.

    Args:
        size: how many keys.
    """

    def __init__(self, size: int, name: str = "memory_queue", **kwargs):
        super().__init__(name=name, dtype="float32", **kwargs)
        self.size = size

    def build(self, shape):
        """Makes the variables for keys [n, d]."""
        self.keys = self.add_weight(
            name="keys", shape=(self.size, shape[-1]), initializer="zeros", trainable=False
        )
        self.enqueued = self.add_weight(
            name="enqueued", shape=(), initializer="zeros", dtype="int64", trainable=False
        )
        self.built = True

    def num_filled(self) -> tf.Tensor:
        """Number of keys in the ring, int64 scalar."""
        return tf.minimum(tf.convert_to_tensor(self.enqueued), self.size)

    def negatives(self) -> tuple[tf.Tensor, tf.Tensor]:
        """(keys [K, d], how many of them, the first ones, are filled)."""
        return tf.convert_to_tensor(self.keys), self.num_filled()

    def enqueue(self, keys: tf.Tensor):
        """Adds keys [n, d] over the oldest ones; of more than `size` the last ones stay."""
        count = keys.shape[0]
        positions = (self.enqueued + tf.range(count, dtype=tf.int64)) % self.size
        kept = slice(max(count - self.size, 0), None)
        updated = tf.tensor_scatter_nd_update(
            tf.convert_to_tensor(self.keys), positions[kept, None], keys[kept]
        )
        self.keys.assign(updated)
        self.enqueued.assign_add(tf.constant(count, tf.int64))


def logits_to_keys(
    queries: tf.Tensor, keys: tf.Tensor, num_filled: tf.Tensor, temperature: float
) -> tf.Tensor:
    """The similarities of queries to past keys; empty places are far below all others.

    Args:
        queries: float32 [B, d].
        keys: float32 [K, d].
        num_filled: how many of them there are, the first ones.
        temperature: tau.

    Returns:
        float32 [B, K].
    """
    is_empty = tf.range(keys.shape[0], dtype=tf.int64) >= tf.cast(num_filled, tf.int64)
    mask = tf.where(is_empty, tf.float32.min / 2, 0.0)  # [K]
    return tf.matmul(queries, keys, transpose_b=True) / temperature + mask
