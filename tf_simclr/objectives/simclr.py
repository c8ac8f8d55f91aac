"""Contrastive pretraining with NT-Xent (SimCLR sec. 2.1, eq. 1; SimCLRv2 sec. 2)."""

import math

import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.data import augment
from tf_simclr.models import momentum_encoder
from tf_simclr.models.network import make_encoder, make_projection_head
from tf_simclr.objectives.base import Objective
from tf_simclr.objectives.nt_xent import nt_xent
from tf_simclr.objectives.supervised import classification_loss

COLLAPSED = (
    0.1  # share of the healthy 1/sqrt(d) below which the spread of the embeddings is a collapse
)


class SimCLR(Objective):
    """Two augmented views of each image attract, all other views repel; a linear classifier learns on the side."""

    couples_examples = True

    def __init__(self, settings, num_classes, num_images=0):
        super().__init__(
            settings,
            num_classes if settings.objective.lineareval_while_pretraining else 0,
            num_images,
        )
        self.embedding_dim = (
            settings.model.proj_out_dim
            if self.projection_head.num_layers
            else self.encoder.feature_dim
        )
        self.key_network = None
        if settings.objective.memory_size:
            self.queue = momentum_encoder.MemoryQueue(
                settings.objective.memory_size, self.embedding_dim
            )
            self.key_network = momentum_encoder.MomentumEncoder(
                make_encoder(settings),
                make_projection_head(settings),
                settings.objective.memory_momentum,
            )

    def build_variables(self):
        super().build_variables()
        if self.key_network is not None:
            size = self.settings.data.image_size
            self.key_network(tf.zeros([1, size, size, 3]))
            self.key_network.hold()
            self.queue.build()

    def example(self, picture, label, seed, index=0, constant=None):
        return {
            **augment.pretrain_views(
                picture, seed, self.settings.data.image_size, self.settings.augment
            ),
            "label": label,
        }

    def begin_step(self):
        if self.key_network is not None:
            self.key_network.follow(self._query_variables())

    def outputs(self, batch, images, training):
        """ "queries" float32 [B, 2, d] and, without gradient, "head_input" [B, 2, C]."""
        features = self.projection_head(
            self.encoder(images, training=training)["final_avg_pool"], training=training
        )
        found = {"queries": self._embed(features[-1])}
        if self.supervised_head is not None:
            inputs = tf.stop_gradient(features[self.settings.model.ft_proj_selector])
            found["head_input"] = tf.reshape(inputs, [-1, 2, inputs.shape[-1]])
        return found

    def targets(self, batch, images, training):
        """With a memory "keys" float32 [B, 2, d]."""
        return (
            {}
            if self.key_network is None
            else {
                "keys": tf.stop_gradient(self._embed(self.key_network(images, training=training)))
            }
        )

    def output_shapes(self):
        """{name: shape of one example} of `outputs` and `targets`."""
        shapes = {"queries": [2, self.embedding_dim]}
        if self.supervised_head is not None:
            shapes["head_input"] = [2, self.supervised_head.kernel.shape[0]]
        return shapes if self.key_network is None else {**shapes, "keys": [2, self.embedding_dim]}

    def loss_of(self, outputs, labels, training):
        queries, temperature = outputs["queries"], self.settings.objective.temperature
        keys = distribute.all_gather(outputs.get("keys", queries))  # [N, 2, d]
        if self.key_network is None:
            loss, metrics = nt_xent(queries, keys, temperature)
        else:
            loss, metrics = nt_xent(queries, keys, temperature, self.queue.negatives())
            if training:
                self.queue.enqueue(tf.reshape(keys, [-1, keys.shape[-1]]))
        spread = tf.math.reduce_std(
            tf.math.l2_normalize(tf.reshape(queries, [-1, queries.shape[-1]]), -1), 0
        )
        metrics["embedding_std"] = tf.reduce_mean(spread)
        if self.supervised_head is not None:
            inputs = tf.reshape(outputs["head_input"], [-1, outputs["head_input"].shape[-1]])
            extra, more = classification_loss(self.supervised_head(inputs), tf.repeat(labels, 2))
            loss, metrics = loss + extra, {**metrics, **more}
        return loss, metrics

    def _embed(self, projections):
        """[2B, d] -> float32 [B, 2, d], normalised if `hidden_norm`."""
        z = tf.cast(projections, tf.float32)
        if self.settings.objective.hidden_norm:
            z = tf.math.l2_normalize(z, -1)
        return tf.reshape(z, [z.shape[0] // 2, 2, z.shape[1]])

    def _query_variables(self):
        return self.encoder.variables + self.projection_head.variables

    def inherited(self):
        own = [] if self.key_network is None else self.key_network.variables + self.queue.variables
        own = {id(v) for v in own}
        return [v for v in self.variables if id(v) not in own]

    def start(self):
        if self.key_network is not None:
            self.key_network.copy(self._query_variables())

    def warning(self, metrics):
        healthy = 1 / math.sqrt(self.embedding_dim)
        if metrics["embedding_std"] < COLLAPSED * healthy:
            return (
                f"the embeddings have collapsed: their std is {metrics['embedding_std']:.2g}, healthy is about {healthy:.2g}; "
                "try a smaller learning rate, more warm-up or a higher temperature"
            )
        return None
