"""Wu et al. 2018: "Unsupervised Feature Learning via Non-Parametric Instance Discrimination"."""

import tensorflow as tf

from tf_simclr.objectives import collapse
from tf_simclr.objectives.bank_task import BankTask


class InstanceDiscrimination(BankTask):
    """Which image is this view of?"""

    published_negatives = 4096  # section 4.2

    def loss_of(self, outputs, labels, training):
        """Equation 10: that of the choice, and of how far features move."""
        features = outputs["features"]
        index = tf.cast(outputs["index"], tf.int64)
        loss, metrics = self.choice(features, index, self.bank)
        before = tf.gather(self.bank.values(), index)
        moved = tf.reduce_mean(tf.reduce_sum(tf.math.squared_difference(features, before), -1))
        if training:
            self.remember(features, index, self.bank)
        metrics |= {"bank_distance": moved, **collapse.gauge(features)}
        return loss + self.settings.pretext.proximal_weight * moved, metrics
