"""Training on labels: the whole network, or what `fine_tune_after_block` leaves free (SimCLRv2 sec. 2)."""

import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.data import augment
from tf_simclr.data.source import UNLABELED
from tf_simclr.objectives.base import Objective


def classification_loss(logits, labels):
    """Cross-entropy and accuracy over the labelled examples of all replicas.

    Args:
        logits: float32 [B, C]. labels: int64 [B], -1 where unknown; such examples do not count.

    Returns:
        (loss, {"supervised_loss", "supervised_acc"}), this replica's part of the global mean.
    """
    known = tf.cast(labels != UNLABELED, tf.float32)
    targets = tf.maximum(labels, 0)
    loss = distribute.weighted_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits), known
    )
    correct = tf.cast(tf.argmax(logits, -1) == targets, tf.float32)
    return loss, {
        "supervised_loss": loss,
        "supervised_acc": distribute.weighted_mean(correct, known),
    }


class Supervised(Objective):
    """Cross-entropy on logits from layer `ft_proj_selector` of the projection head; later layers are left out."""

    @classmethod
    def head_layers(cls, settings):
        selector = settings.model.ft_proj_selector
        return None if selector < 0 else selector

    @classmethod
    def labeled_only(cls, settings):
        return True

    def example(self, picture, label, seed, index=0, constant=None):
        if constant is not None:
            return {"features": constant, "label": label}
        return super().example(picture, label, seed, index)

    def constant_function(self):
        """The features of a frozen encoder, for linear evaluation without passes through it; without random augmentation only."""
        if self.settings.model.fine_tune_after_block < 4 or augment.is_random(
            self.settings.augment
        ):
            return None
        return lambda images: self.encoder(images, training=False)[
            "final_avg_pool"
        ], self.encoder.feature_dim

    def outputs(self, batch, images, training):
        """Logits float32 [B, num_classes]."""
        if images is not None:
            return {"logits": self(images, training=training)["logits_sup"]}
        return {"logits": self.supervised_head(self.head_input(batch["features"], training))}

    def loss_of(self, outputs, labels, training):
        return classification_loss(outputs["logits"], labels)

    def inherited(self):
        head = {id(v) for v in self.supervised_head.variables}
        return [v for v in self.variables if id(v) not in head]
