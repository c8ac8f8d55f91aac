"""LeJEPA: Balestriero and LeCun 2025.

"LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics"
(https://arxiv.org/abs/2511.08544), and the authors' code (https://github.com/rbalestr-lab/lejepa).
"""

import numpy as np
import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.objectives import collapse
from tf_simclr.objectives.stepped_task import SteppedTask

NUM_SLICES = 256  # directions of a step (algorithm 1)
MAX_FREQUENCY, NUM_FREQUENCIES = 5.0, 17  # of the integral (algorithm 1)


class LeJEPA(SteppedTask):
    """Views of an image are near their mean, and all embeddings are spread as a normal variable.

    There are no negatives, no second network and no stopped gradient.
    """

    couples_examples = True
    # MINIMAL.md of the authors' code.
    hidden_layers = 2
    published_dim = 16

    def outputs(self, batch, images, training):
        """{"embeddings": float32 [B, V, d]}."""
        return {"embeddings": self.by_image(self.embed(images, training))}

    def output_shapes(self):
        return {"embeddings": [self.num_views, self.embedding_dim]}

    def loss_of(self, outputs, labels, training):
        """Over the global batch: every replica has the same loss."""
        embeddings = distribute.all_gather(outputs["embeddings"])  # [N, V, d]
        centers = tf.reduce_mean(embeddings, 1, keepdims=True)
        prediction = tf.reduce_mean(tf.math.squared_difference(embeddings, centers))
        slices = self._slices()
        collapsed = embeddings.shape[0] * collapsed_statistic()
        views = tf.unstack(embeddings, axis=1)
        regularization = tf.add_n([sigreg(view, slices) for view in views]) / self.num_views
        weight = self.settings.pretext.lejepa_weight
        loss = (1 - weight) * prediction + weight * regularization
        return loss, {
            "pretext_loss": loss,
            # One embedding for all images, of which 0 costs least.
            "pretext_chance": tf.constant(weight * collapsed),
            "lejepa_prediction": prediction,
            "lejepa_sigreg": regularization,
            **collapse.gauge(views[0]),
        }

    def _slices(self):
        """Other random directions in each step, equal on all replicas: float32 [d, 256]."""
        shape = [self.embedding_dim, NUM_SLICES]
        slices = tf.random.stateless_normal(shape, self.step_seed())
        return tf.math.l2_normalize(slices, 0)


def sigreg(embeddings: tf.Tensor, slices: tf.Tensor) -> tf.Tensor:
    """Sketched isotropic Gaussian regularization (algorithm 1).

    Args:
        embeddings: float32 [N, d].
        slices: directions of length 1, float32 [d, M].

    Returns:
        The mean over the directions of `epps_pulley` of the embeddings along each.
    """
    return tf.reduce_mean(epps_pulley(tf.matmul(embeddings, slices)))


def epps_pulley(values: tf.Tensor) -> tf.Tensor:
    """How far values are from a standard normal distribution, by their characteristic function.

    N times the integral over t of |mean exp(i t x) - exp(-t^2 / 2)|^2 exp(-t^2 / 2), by the
    trapezoidal rule on [-5, 5] (algorithm 1). What is integrated is symmetric in t.

    Args:
        values: x, float32 [N, M].

    Returns:
        float32 [M].
    """
    statistic = 0.0
    for frequency, gaussian, weight in _quadrature():
        angles = frequency * values
        real = tf.reduce_mean(tf.cos(angles), 0) - gaussian
        imaginary = tf.reduce_mean(tf.sin(angles), 0)
        statistic += weight * (tf.square(real) + tf.square(imaginary))
    return values.shape[0] * statistic


def collapsed_statistic() -> float:
    """What `epps_pulley` is for a single value, 0: the statistic of N equal ones is N times it."""
    return sum(weight * (1 - gaussian) ** 2 for _, gaussian, weight in _quadrature())


def _quadrature():
    """[(t, exp(-t^2 / 2), weight)] of the frequencies from 0 on, with the weight of -t, too."""
    frequencies = np.linspace(0, MAX_FREQUENCY, NUM_FREQUENCIES // 2 + 1)
    gaussian = np.exp(-(frequencies**2) / 2)
    step = 2 * MAX_FREQUENCY / (NUM_FREQUENCIES - 1)
    weights = 2 * step * gaussian
    weights[[0, -1]] /= 2  # 0 has no other sign, and the ends of the trapezoidal rule count half
    return list(zip(frequencies.tolist(), gaussian.tolist(), weights.tolist(), strict=True))
