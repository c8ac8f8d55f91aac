"""Contrastive pretraining with NT-Xent (SimCLR section 2.1, equation 1; SimCLRv2 section 2)."""

import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.config import Config
from tf_simclr.models.memory_queue import MemoryQueue
from tf_simclr.models.momentum_encoder import KEY_NETWORK, MomentumEncoder
from tf_simclr.models.network import make_encoder, make_projection_head
from tf_simclr.objectives import collapse
from tf_simclr.objectives.base import Objective
from tf_simclr.objectives.nt_xent import nt_xent
from tf_simclr.objectives.supervised import classification_loss


class SimCLR(Objective):
    """Two augmented views of each image attract, all other views repel.

    A linear classifier learns on the side, see `normalized_step`.
    """

    couples_examples = True

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        options = settings.objective
        if not options.lineareval_while_pretraining:
            num_classes = 0
        super().__init__(settings, num_classes, num_images)
        self.embedding_dim = self.encoder.feature_dim
        if self.projection_head.num_layers:
            self.embedding_dim = settings.model.proj_out_dim
        self.key_network = None
        if options.memory_size:
            self.queue = MemoryQueue(options.memory_size)
            self.key_network = MomentumEncoder(
                make_encoder(settings, KEY_NETWORK), make_projection_head(settings)
            )

    def build_variables(self):
        super().build_variables()
        if self.key_network is not None:
            self.key_network.build_frozen(self.settings.data.image_size)
            self.queue.build([None, self.embedding_dim])

    def example(self, picture, label, seed, index=0, constant=None):
        return {**self.random_views(picture, seed), "label": label}

    @property
    def encoder_input(self):
        return 2, self.settings.data.image_size

    def begin_step(self):
        if self.key_network is not None:
            momentum = self.settings.objective.memory_momentum
            self.key_network.update(self._query_variables(), momentum)

    def outputs(self, batch, images, training):
        """Queries, and without gradient what the linear classifier reads.

        Returns:
            {"queries": float32 [B, 2, d], "head_input": [B, 2, C]}.
        """
        features = self.encoder(images, training=training)["final_avg_pool"]
        projections = self.projection_head(features, training=training)
        outputs = {"queries": self._embed(projections[-1])}
        if self.supervised_head is not None:
            head_input = tf.stop_gradient(projections[self.settings.model.ft_proj_selector])
            outputs["head_input"] = tf.reshape(head_input, [-1, 2, head_input.shape[-1]])
        return outputs

    def targets(self, batch, images, training):
        """With a memory "keys" float32 [B, 2, d]."""
        if self.key_network is None:
            return {}
        keys = self._embed(self.key_network(images, training=training)[-1])
        return {"keys": tf.stop_gradient(keys)}

    def output_shapes(self):
        shapes = {"queries": [2, self.embedding_dim]}
        if self.supervised_head is not None:
            shapes["head_input"] = [2, self.supervised_head.kernel.shape[0]]
        if self.key_network is not None:
            shapes["keys"] = [2, self.embedding_dim]
        return shapes

    def loss_of(self, outputs, labels, training):
        queries = outputs["queries"]
        temperature = self.settings.objective.temperature
        keys = distribute.all_gather(outputs.get("keys", queries))  # [N, 2, d]
        if self.key_network is None:
            loss, metrics = nt_xent(queries, keys, temperature)
        else:
            loss, metrics = nt_xent(queries, keys, temperature, self.queue.negatives())
            if training:
                self.queue.enqueue(tf.reshape(keys, [-1, keys.shape[-1]]))
        metrics |= collapse.gauge(tf.reshape(queries, [-1, queries.shape[-1]]))
        if self.supervised_head is not None:
            head_input = outputs["head_input"]
            head_input = tf.reshape(head_input, [-1, head_input.shape[-1]])
            logits = normalized_step(self.supervised_head(head_input), head_input)
            head_loss, head_metrics = classification_loss(logits, tf.repeat(labels, 2))
            loss, metrics = loss + head_loss, {**metrics, **head_metrics}
        return loss, metrics

    def _embed(self, projections):
        """[2B, d] -> float32 [B, 2, d], normalized if `hidden_norm`."""
        z = tf.cast(projections, tf.float32)
        if self.settings.objective.hidden_norm:
            z = tf.math.l2_normalize(z, -1)
        return tf.reshape(z, [z.shape[0] // 2, 2, z.shape[1]])

    def _query_variables(self):
        return self.encoder.variables + self.projection_head.variables

    def inherited(self):
        if self.key_network is None:
            return self.variables
        new_ids = {id(v) for v in self.key_network.variables + self.queue.variables}
        return [v for v in self.variables if id(v) not in new_ids]

    def start(self):
        if self.key_network is not None:
            self.key_network.copy_from(self._query_variables())

    def warning(self, metrics):
        remedies = "a smaller learning rate, more warm-up or a higher temperature"
        return collapse.warning(metrics, self.embedding_dim, remedies)


def normalized_step(logits: tf.Tensor, head_input: tf.Tensor) -> tf.Tensor:
    """The logits of a linear classifier, whose gradient gives it a step size of its own.

    The learning rate is that of the encoder. One that is right for it can be a thousand times too
    large for a classifier that reads long features: its loss has a curvature of up to half their
    squared length. Divided by that length, a step of SGD or LARS changes the logits alike at any
    length; Adam's steps do not depend on the length of a gradient. Weight decay stays as it is, so
    that it weighs more beside the gradient.

    Args:
        logits: float32 [B, classes].
        head_input: [B, C] that they are linear functions of.

    Returns:
        The same logits; the gradient of each example is divided by its squared length plus 1, the
        input of the bias.

    Source: normalized least mean squares (Nagumo & Noda 1967, "A learning method for system
    identification").
    """
    head_input = tf.cast(head_input, logits.dtype)
    squared_length = 1 + tf.reduce_sum(tf.square(head_input), -1, keepdims=True)
    scaled = logits / squared_length
    return scaled + tf.stop_gradient(logits - scaled)
