"""VICReg: Bardes, Ponce and LeCun 2022.

"VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning".
"""

import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.models.heads import TaskHead
from tf_simclr.objectives import collapse
from tf_simclr.objectives.view_task import ViewTask

# lambda, mu and nu (section 4.2).
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0
MARGIN = 1.0  # gamma, the deviation that each dimension should have (equation 1)
EPSILON = 1e-4  # added to variances (equation 2)


class VICReg(ViewTask):
    """Two views of an image have the same embedding.

    Every dimension of it varies from image to image, and independently of the others.
    """

    couples_examples = True
    published_dim = 8192  # of all three layers of the expander (section 4.2)

    def make_head(self, name):
        """The expander, whose layers are all as wide as its output."""
        return TaskHead([self.embedding_dim] * 2, self.embedding_dim, *self.norm_options, name=name)

    def outputs(self, batch, images, training):
        """{"embeddings": float32 [B, 2, d]}."""
        return {"embeddings": self.by_image(self.embed(images, training))}

    def output_shapes(self):
        return {"embeddings": [2, self.embedding_dim]}

    def loss_of(self, outputs, labels, training):
        """Over the global batch: every replica has the same loss."""
        embeddings = distribute.all_gather(outputs["embeddings"])  # [N, 2, d]
        first, second = tf.unstack(embeddings, axis=1)
        invariance = tf.reduce_mean(tf.math.squared_difference(first, second))
        variance = variance_hinge(first) + variance_hinge(second)
        covariance = mean_squared_covariance(first) + mean_squared_covariance(second)
        loss = INVARIANCE * invariance + VARIANCE * variance + COVARIANCE * covariance
        return loss, {
            "pretext_loss": loss,
            # One embedding for all images.
            "pretext_chance": tf.constant(2 * VARIANCE * (MARGIN - EPSILON**0.5)),
            "vicreg_invariance": invariance,
            "vicreg_variance": variance,
            "vicreg_covariance": covariance,
            **collapse.gauge(first),
        }


def variance_hinge(embeddings: tf.Tensor) -> tf.Tensor:
    """v: how much the deviations of the dimensions fall short of `MARGIN` (equations 1 and 2).

    Args:
        embeddings: float32 [N, d].

    Returns:
        float32 scalar, the mean over dimensions.
    """
    num_images = embeddings.shape[0]
    correction = num_images / max(num_images - 1, 1)  # of the variance, which divides by N
    unbiased = tf.math.reduce_variance(embeddings, 0) * correction
    deviations = tf.sqrt(unbiased + EPSILON)
    return tf.reduce_mean(tf.maximum(MARGIN - deviations, 0.0))


def mean_squared_covariance(embeddings: tf.Tensor) -> tf.Tensor:
    """c: the squared covariances of different dimensions, summed and divided by d (equation 4).

    With fewer images than dimensions it is taken from the products of images, whose squares have
    the same sum as those of the covariance matrix: N^2 d multiplications instead of N d^2.

    Args:
        embeddings: float32 [N, d].

    Returns:
        float32 scalar.
    """
    num_images, dim = embeddings.shape
    centered = embeddings - tf.reduce_mean(embeddings, 0)
    of_images = num_images < dim
    products = tf.matmul(centered, centered, transpose_a=not of_images, transpose_b=of_images)
    if of_images:
        variances = tf.reduce_sum(tf.square(centered), 0)
        off_diagonal = tf.reduce_sum(tf.square(products)) - tf.reduce_sum(tf.square(variances))
    else:  # without the diagonal, in whose rounding small covariances would be lost
        covariances = tf.linalg.set_diag(products, tf.zeros([dim]))
        off_diagonal = tf.reduce_sum(tf.square(covariances))
    return off_diagonal / (max(num_images - 1, 1) ** 2 * dim)
