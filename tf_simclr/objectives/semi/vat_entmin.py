"""VAT + EntMin: Miyato et al. 2018.

"Virtual Adversarial Training: A Regularization Method for Supervised and Semi-Supervised Learning",
and the authors' code (https://github.com/takerum/vat_tf).
"""

import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.data import noise
from tf_simclr.models.layers import repeated_pass
from tf_simclr.objectives.semi import pseudo_labels
from tf_simclr.objectives.semi.base import SemiTask

# Length of the step of the finite difference. 1e-6 in the paper, with which the rounding of float32
# is larger than the difference: of a linear network with 2 classes the direction was so wrong that
# its cosine with the right one was 0.5 to 0.9; with 1e-3 it is above 0.999.
XI = 1e-3
POWER_ITERATIONS = 1  # K (section 4)
ENTROPY_WEIGHT = 1.0  # relative to the other term (section 4.2)
EPSILON_SIZE = 32  # pixels a side of an image that --vat_epsilon is for
TINY = 1e-12


class VATEntMin(SemiTask):
    """The prediction stays where an image is changed as is worst for it, and is of low entropy.

    Both terms are of all images, also of those with a label (sections 3.2 and 4.2).
    """

    flags = ("vat_epsilon",)
    published_ratio = 128 / 32  # train_semisup.py of the authors' code

    @property
    def epsilon(self) -> float:
        """Length of the perturbation of an image."""
        return self.settings.semi.vat_epsilon * self.settings.data.image_size / EPSILON_SIZE

    def example(self, picture, label, seed, index=0, constant=None):
        """A crop, and the seed of the direction that the power iteration starts with."""
        view_seed, noise_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        return {**super().example(picture, label, view_seed), "noise_seed": noise_seed}

    def outputs(self, batch, images, training):
        """Also {"adversarial": logits float32 [B, C]} of the perturbed images."""
        outputs = super().outputs(batch, images, training)

        def predict(perturbed):
            with repeated_pass():
                return self.learner(perturbed, training=training)["logits_sup"]

        start = noise.normal(batch["noise_seed"], images.shape[1:])
        direction = worst_direction(predict, images, outputs["logits"][:, 0], start)
        outputs["adversarial"] = predict(images + self.epsilon * direction)
        return outputs

    def output_shapes(self):
        return {**super().output_shapes(), "adversarial": [self.num_classes]}

    def unlabeled_loss(self, outputs, is_unlabeled, training):
        """The distributional smoothness, and the conditional entropy."""
        logits, adversarial = outputs["logits"][:, 0], outputs["adversarial"]
        everything = tf.ones_like(is_unlabeled)
        smoothness = distribute.weighted_mean(
            divergences(tf.stop_gradient(logits), adversarial), everything
        )
        entropy = distribute.weighted_mean(entropies(logits), everything)
        return smoothness + ENTROPY_WEIGHT * entropy, {
            "vat_loss": smoothness,
            "entropy": entropy,
            **pseudo_labels.gauge(tf.nn.softmax(logits), is_unlabeled),
        }


def worst_direction(predict, images: tf.Tensor, logits: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """The direction in which predictions change most, by power iteration (section 3.3).

    Args:
        predict: images -> logits.
        images: float32 [B, S, S, 3].
        logits: of the images, float32 [B, C].
        start: random directions, float32 [B, S, S, 3].

    Returns:
        float32 [B, S, S, 3], of length 1 for each image, without gradient.
    """
    logits = tf.stop_gradient(logits)
    direction = unit(start)
    for _ in range(POWER_ITERATIONS):
        step = XI * direction
        with tf.GradientTape() as tape:
            tape.watch(step)
            divergence = tf.reduce_sum(divergences(logits, predict(images + step)))
        direction = unit(tape.gradient(divergence, step))
    return tf.stop_gradient(direction)


def unit(directions: tf.Tensor) -> tf.Tensor:
    """Scales [B, S, S, 3] to length 1; the largest value first, since squares may underflow."""
    largest = tf.reduce_max(tf.abs(directions), [1, 2, 3], keepdims=True)
    scaled = directions / (largest + TINY)
    norms = tf.sqrt(tf.reduce_sum(tf.square(scaled), [1, 2, 3], keepdims=True))
    return tf.math.divide_no_nan(scaled, norms)


def divergences(logits: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """KL of predictions from others: float32 [B] of logits [B, C]."""
    log_ratio = tf.nn.log_softmax(logits) - tf.nn.log_softmax(others)
    return tf.reduce_sum(tf.nn.softmax(logits) * log_ratio, -1)


def entropies(logits: tf.Tensor) -> tf.Tensor:
    """Of predictions: float32 [B] of logits [B, C]."""
    return -tf.reduce_sum(tf.nn.softmax(logits) * tf.nn.log_softmax(logits), -1)
