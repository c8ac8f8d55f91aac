"""MoCo: He et al. 2020, "Momentum Contrast for Unsupervised Visual Representation Learning"."""

import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.config import Config
from tf_simclr.models.memory_queue import MemoryQueue, logits_to_keys
from tf_simclr.objectives import collapse
from tf_simclr.objectives.momentum_task import MomentumTask
from tf_simclr.objectives.pretext import guess


class MoCo(MomentumTask):
    """Which key is that of the other view: that of a slow copy of the network, or past ones?

    The first view is the query, the second the key (algorithm 1).

    Batch norm would give the key away, if query and key were normalized by the same few images and
    all past keys by others (section 3.3). With --global_bn the images of all replicas are these
    few, as in SimCLRv2. Without it, keys are computed in another order: each replica has images
    whose queries are on all of them, which is the paper's shuffling.
    """

    loss_has_state = True
    published_dim = 128  # of one layer (section 3.3)

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        self.queue = MemoryQueue(settings.pretext.feature_queue)

    def build_heads(self):
        super().build_heads()
        self.queue.build([None, self.embedding_dim])

    def momentum(self):
        return self.settings.objective.memory_momentum

    @property
    def encoder_input(self):
        return 1, self.settings.data.image_size

    def outputs(self, batch, images, training):
        """{"queries": float32 [B, d]}, of length 1."""
        queries = self.embed(self.by_image(images)[:, 0], training)
        return {"queries": tf.math.l2_normalize(queries, -1)}

    def targets(self, batch, images, training):
        """{"keys": float32 [B, d]}, of length 1."""
        keys = self._keys(self.by_image(images)[:, 1], training)
        return {"keys": tf.stop_gradient(tf.math.l2_normalize(keys, -1))}

    def output_shapes(self):
        return {"queries": [self.embedding_dim], "keys": [self.embedding_dim]}

    def loss_of(self, outputs, labels, training):
        """Equation 1: the cross-entropy of the positive among itself and the past keys."""
        queries, keys = outputs["queries"], outputs["keys"]
        past_keys, num_filled = self.queue.negatives()
        temperature = self.settings.pretext.pretext_temperature
        positive = tf.reduce_sum(queries * keys, -1, keepdims=True) / temperature
        negatives = logits_to_keys(queries, past_keys, num_filled, temperature)
        logits = tf.concat([positive, negatives], -1)  # [B, 1 + K]
        loss, metrics = guess(logits, tf.zeros([queries.shape[0]], tf.int64))
        if training:
            self.queue.enqueue(distribute.all_gather(keys))
        chance = tf.math.log(tf.cast(num_filled, tf.float32) + 1)
        return loss, {**metrics, "pretext_chance": chance, **collapse.gauge(queries)}

    def _keys(self, images, training):
        is_shuffled = not self.settings.model.global_bn and distribute.replica_count() > 1
        if not is_shuffled:
            return self.key_network(images, training=training)
        embed_keys = lambda x: self.key_network(x, training=training)
        return on_other_replicas(embed_keys, images, self.step_seed())


def on_other_replicas(function, values: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Applies a function to values in an order that is drawn over all replicas.

    Args:
        function: [B, ...] -> [B, d].
        values: [B, ...] of this replica.
        seed: integer [2], equal on all replicas.

    Returns:
        [B, d], what belongs to the values of this replica.
    """
    batch = values.shape[0]
    # XLA, and so a TPU, has no shuffle, and takes slices of constant size alone.
    order = tf.argsort(tf.random.stateless_uniform([batch * distribute.replica_count()], seed))
    begin = [distribute.replica_id() * batch]
    own_order = tf.slice(order, begin, [batch])
    shuffled = tf.gather(distribute.all_gather(values), own_order)
    results = distribute.all_gather(function(shuffled))  # in the order that was drawn
    own_places = tf.slice(tf.math.invert_permutation(order), begin, [batch])
    return tf.gather(results, own_places)
