"""FixMatch: Sohn et al. 2020.

"FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence".
"""

import tensorflow as tf

from tf_simclr.objectives.semi import pseudo_labels
from tf_simclr.objectives.semi.weak_strong import WeakStrongTask


class FixMatch(WeakStrongTask):
    """The likeliest class of the weak view is the label of the strong one, if it is likely enough.

    mu = 7, lambda = 1 and the decay 0.999 are those of section 4 and of the authors' code.
    """

    flags = ("confidence_threshold",)
    published_threshold = 0.95  # tau (section 4)

    def unlabeled_loss(self, outputs, is_unlabeled, training):
        weak, strong = tf.unstack(outputs["logits"], axis=1)
        losses, is_confident = consistency(weak, strong, self.threshold)
        predictions = tf.nn.softmax(weak)
        return pseudo_labels.loss_of_confident(losses, is_confident, predictions, is_unlabeled)


def consistency(
    weak: tf.Tensor, strong: tf.Tensor, threshold: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """The cross-entropy of the strong view with the class of the weak one (equation 4).

    Args:
        weak: logits float32 [B, C], which get no gradient.
        strong: logits float32 [B, C].
        threshold: tau.

    Returns:
        (losses float32 [B], 0 where the prediction does not count; whether it does, float32 [B]).
    """
    probabilities = tf.stop_gradient(tf.nn.softmax(weak))
    is_confident = pseudo_labels.confident(probabilities, threshold)
    return is_confident * pseudo_labels.hard_losses(strong, probabilities), is_confident
