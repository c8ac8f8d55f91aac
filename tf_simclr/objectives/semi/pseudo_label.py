"""Pseudo-Label: Lee 2013.

"Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks".
"""

import tensorflow as tf

from tf_simclr.objectives.semi import pseudo_labels, ramps
from tf_simclr.objectives.semi.base import SemiTask

# T1 and T2 of equation 16 are 100 and 600 epochs; here they are shares of the training.
RAMP_BEGIN, RAMP_END = 0.1, 0.6


class PseudoLabel(SemiTask):
    """The likeliest class of an image is its label, with a weight that grows."""

    flags = ("confidence_threshold",)
    published_weight = 3.0  # alpha_f (equation 16)
    published_ratio = 256 / 32  # mini-batches of its experiments

    def ramp(self, progress):
        return ramps.linear(progress, RAMP_BEGIN, RAMP_END)

    def unlabeled_loss(self, outputs, is_unlabeled, training):
        """The second term of equation 15; a threshold is not the paper's."""
        logits = outputs["logits"][:, 0]
        probabilities = tf.stop_gradient(tf.nn.softmax(logits))
        is_confident = pseudo_labels.confident(probabilities, self.threshold)
        losses = is_confident * pseudo_labels.hard_losses(logits, probabilities)
        return pseudo_labels.loss_of_confident(losses, is_confident, probabilities, is_unlabeled)
