"""MoCo-style memory: a slow copy of the network makes keys, a queue keeps past ones as negatives.

Source: SimCLRv2 section 2.
"""

import keras
import tensorflow as tf

KEY_NETWORK = "key_network"


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


class MomentumEncoder(keras.layers.Layer):
    """Encoder and projection head whose weights follow another pair as a moving average.

    Args:
        encoder: of the keys.
        projection_head: of the keys.
        momentum: of the exponential moving average.
    """

    def __init__(
        self, encoder, projection_head, momentum: float, name: str = KEY_NETWORK, **kwargs
    ):
        super().__init__(name=name, **kwargs)
        self.encoder = encoder
        self.projection_head = projection_head
        self.momentum = momentum

    def call(self, images, training=False):
        features = self.encoder(images, training=training)["final_avg_pool"]
        return self.projection_head(features, training=training)[-1]

    def freeze(self):
        """Makes the weights not trainable; batch norm still uses each batch's statistics."""
        self.averaged = [index for index, v in enumerate(self.variables) if v.trainable]
        for v in self.variables:
            v.trainable = False

    def copy_from(self, variables: list):
        """Starts from `variables`, in the order of this network's own."""
        for v, other in zip(self.variables, variables, strict=True):
            v.assign(other)

    def update(self, variables: list):
        """One step of the moving average of the weights.

        The statistics of batch norm are this network's own.
        """
        for index in self.averaged:
            v = self.variables[index]
            v.assign(self.momentum * v + (1 - self.momentum) * variables[index])
