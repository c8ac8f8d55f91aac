"""BYOL: Grill et al. 2020.

"Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning".
"""

import math

import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.config.length import total_steps
from tf_simclr.data.color_policy import ColorPolicy
from tf_simclr.objectives import collapse
from tf_simclr.objectives.momentum_task import MomentumTask

# T and T' of table 6. With --color_jitter_strength=0.5 brightness, contrast, saturation and hue are
# the table's, too.
FIRST = ColorPolicy(saturation=0.5, blur_probability=1.0)
SECOND = ColorPolicy(saturation=0.5, blur_probability=0.1, solarize_probability=0.2)
UNRELATED = 2.0  # squared distance of unit vectors at a right angle


class BYOL(MomentumTask):
    """The embedding of a view predicts that of the other one, which a slow copy of the network has.

    The key network is the paper's target network xi, encoder and projector the online network.
    """

    color_policies = (FIRST, SECOND)
    hidden_layers = 1  # of projector and predictor (section 3.2)
    published_dim = 256

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        self.predictor = self.make_head("predictor")
        self.num_steps = total_steps(settings.train, num_images)

    def build_heads(self):
        super().build_heads()
        self.predictor.build([None, self.embedding_dim])

    def momentum(self):
        base = self.settings.pretext.byol_momentum
        return target_momentum(self.counter.value(), self.num_steps, base)

    def outputs(self, batch, images, training):
        """{"predictions": float32 [B, 2, d]} of the online network for both views."""
        predictions = self.predictor(self.embed(images, training), training=training)
        return {"predictions": self.by_image(predictions)}

    def targets(self, batch, images, training):
        """{"projections": float32 [B, 2, d]} of the target network for both views."""
        projections = self.key_network(images, training=training)
        return {"projections": tf.stop_gradient(self.by_image(projections))}

    def loss_of(self, outputs, labels, training):
        """Each view predicts the other one, and both losses are added (section 3.1)."""
        predictions, projections = outputs["predictions"], outputs["projections"]
        loss = prediction_loss(predictions, tf.reverse(projections, [1]))
        return loss, {
            "pretext_loss": loss,
            "pretext_chance": tf.constant(2 * UNRELATED),
            **collapse.gauge(predictions[:, 0]),
        }


def prediction_loss(predictions: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """The squared distances of normalized vectors (equation 2), summed over the views.

    Args:
        predictions: float32 [B, V, d].
        targets: float32 [B, V, d].

    Returns:
        float32 scalar, the mean over images.
    """
    first = tf.math.l2_normalize(predictions, -1)
    second = tf.math.l2_normalize(targets, -1)
    distances = tf.reduce_sum(tf.math.squared_difference(first, second), -1)  # [B, V]
    return tf.reduce_mean(tf.reduce_sum(distances, 1))


def target_momentum(step: tf.Tensor, num_steps: int, base: float) -> tf.Tensor:
    """tau, which rises from `base` to 1 along a cosine (section 3.2).

    Args:
        step: how many steps are done, k.
        num_steps: of the whole training, K.
        base: tau at the start.

    Returns:
        float32 scalar.
    """
    progress = tf.minimum(tf.cast(step, tf.float32) / num_steps, 1.0)
    return 1 - (1 - base) * (tf.cos(math.pi * progress) + 1) / 2
