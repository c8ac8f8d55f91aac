"""FreeMatch: Wang et al. 2023.

"FreeMatch: Self-adaptive Thresholding for Semi-supervised Learning".
"""

import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.models.adaptive_threshold import AdaptiveThreshold
from tf_simclr.objectives.semi import pseudo_labels
from tf_simclr.objectives.semi.weak_strong import WeakStrongTask

MOMENTUM = 0.999  # lambda of the averages, `ema_p` of the authors' code
FAIRNESS_WEIGHT = 0.01  # w_f, `ent_loss_ratio` of the authors' code


class FreeMatch(WeakStrongTask):
    """FixMatch with a threshold for each class that rises with the confidence, and fairness.

    The fairness keeps the predictions for strong views from favoring classes (section 4.2).
    """

    loss_has_state = True

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        self.thresholds = AdaptiveThreshold(num_classes, MOMENTUM)

    def build_state(self):
        self.thresholds.build()

    def unlabeled_loss(self, outputs, is_unlabeled, training):
        """Sections 4.1 and 4.2; the thresholds have seen the predictions of this step."""
        weak, strong = tf.unstack(outputs["logits"], axis=1)
        probabilities = tf.stop_gradient(tf.nn.softmax(weak))
        if training:
            self._update(probabilities, is_unlabeled)
        thresholds = self.thresholds.of_classes()
        threshold = tf.gather(thresholds, tf.argmax(probabilities, -1))
        is_confident = pseudo_labels.confident(probabilities, threshold)
        losses = is_confident * pseudo_labels.hard_losses(strong, probabilities)
        fairness = fairness_loss(
            tf.nn.softmax(strong),
            is_unlabeled * is_confident,
            mean_prediction=tf.convert_to_tensor(self.thresholds.mean_prediction),
            histogram=tf.convert_to_tensor(self.thresholds.histogram),
        )
        loss, metrics = pseudo_labels.loss_of_confident(
            losses, is_confident, probabilities, is_unlabeled
        )
        return loss + FAIRNESS_WEIGHT * fairness, {
            **metrics,
            "threshold": tf.reduce_mean(thresholds),
            "fairness_loss": fairness,
        }

    def _update(self, probabilities, is_unlabeled):
        largest = tf.reduce_max(probabilities, -1, keepdims=True)
        classes = one_hot_classes(probabilities)
        values = tf.concat([largest, probabilities, classes], -1)
        means = pseudo_labels.global_mean(values, is_unlabeled)  # [1 + 2 C]
        num_classes = self.num_classes
        confidence, mean_prediction, histogram = tf.split(means, [1, num_classes, num_classes])
        self.thresholds.update(confidence[0], mean_prediction, histogram)


def one_hot_classes(probabilities: tf.Tensor) -> tf.Tensor:
    """1 for the likeliest class, 0 for others: float32 [B, C] of [B, C]."""
    return tf.one_hot(tf.argmax(probabilities, -1), probabilities.shape[-1])


def fairness_loss(
    strong: tf.Tensor,
    weights: tf.Tensor,
    *,
    mean_prediction: tf.Tensor,
    histogram: tf.Tensor,
) -> tf.Tensor:
    """Minus the cross-entropy of two mean predictions, each relative to its histogram.

    Over the global batch: every replica has the same loss.

    Source: section 4.2.

    Args:
        strong: probabilities of strong views, float32 [B, C].
        weights: 1 for those that count, else 0, float32 [B].
        mean_prediction: of weak views, the moving average, float32 [C].
        histogram: of weak views, the moving average, float32 [C].

    Returns:
        float32 scalar; 0 where none counts.
    """
    mean = pseudo_labels.global_mean(strong, weights)
    counts = pseudo_labels.global_mean(one_hot_classes(strong), weights)
    expected = _normalized_sum(tf.math.divide_no_nan(mean_prediction, histogram))
    actual = _normalized_sum(tf.math.divide_no_nan(mean, counts))
    loss = tf.reduce_sum(expected * tf.math.log(actual + 1e-12))
    any_counts = tf.reduce_sum(counts) > 0
    return tf.where(any_counts, loss, 0.0)


def _normalized_sum(values):
    return tf.math.divide_no_nan(values, tf.reduce_sum(values))
