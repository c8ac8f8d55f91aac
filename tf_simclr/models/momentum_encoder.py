"""MoCo-style memory (SimCLRv2 sec. 2): a slow copy of the network makes keys, a queue keeps past ones as negatives."""

import keras
import tensorflow as tf


class MemoryQueue(keras.layers.Layer):
    """The newest `size` keys of length `dim`, float32, in a ring. Equal on all replicas."""

    def __init__(self, size, dim, name="memory_queue", **kwargs):
        super().__init__(name=name, dtype="float32", **kwargs)
        self.size, self.dim = size, dim

    def build(self, shape=None):
        self.keys = self.add_weight(
            name="keys", shape=(self.size, self.dim), initializer="zeros", trainable=False
        )
        self.enqueued = self.add_weight(
            name="enqueued", shape=(), initializer="zeros", dtype="int64", trainable=False
        )
        self.built = True

    def filled(self):
        """Number of keys in the ring, int64."""
        return tf.minimum(tf.convert_to_tensor(self.enqueued), self.size)

    def negatives(self):
        """(keys [K, d], how many of them, the first ones, are there)."""
        return tf.convert_to_tensor(self.keys), self.filled()

    def enqueue(self, keys):
        """Adds keys [n, d] over the oldest ones; of more than `size` the last ones stay."""
        count = keys.shape[0]
        where = (self.enqueued + tf.range(count, dtype=tf.int64)) % self.size
        kept = slice(max(count - self.size, 0), None)
        self.keys.assign(
            tf.tensor_scatter_nd_update(
                tf.convert_to_tensor(self.keys), where[kept, None], keys[kept]
            )
        )
        self.enqueued.assign_add(tf.constant(count, tf.int64))


class MomentumEncoder(keras.layers.Layer):
    """Encoder and projection head whose weights follow another pair's as an exponential moving average."""

    def __init__(self, encoder, projection_head, momentum, name="key_network", **kwargs):
        super().__init__(name=name, **kwargs)
        self.encoder, self.projection_head, self.momentum = encoder, projection_head, momentum

    def call(self, images, training=False):
        features = self.encoder(images, training=training)["final_avg_pool"]
        return self.projection_head(features, training=training)[-1]

    def hold(self):
        """Takes the weights out of the hands of the optimiser; batch norm goes on using each batch's statistics."""
        self.averaged = [i for i, v in enumerate(self.variables) if v.trainable]
        for v in self.variables:
            v.trainable = False

    def copy(self, variables):
        """Starts from `variables`, in the order of this network's own."""
        for mine, other in zip(self.variables, variables, strict=True):
            mine.assign(other)

    def follow(self, variables):
        """One step of the moving average of the weights; statistics of batch norm are this network's own."""
        for i in self.averaged:
            mine = self.variables[i]
            mine.assign(self.momentum * mine + (1 - self.momentum) * variables[i])
