"""Training on labels: the whole network, or what `fine_tune_after_block` leaves free.

Source: SimCLRv2 section 2.
"""

import numpy as np
import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.config import Config
from tf_simclr.data import augment
from tf_simclr.data.source import UNLABELED, count_labels
from tf_simclr.objectives.base import Objective

LABEL_METRICS = ("supervised_loss", "supervised_acc")  # means over the images with a label
LAST_GROUP = 4  # `fine_tune_after_block` that freezes the whole encoder


def balanced_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Weights of the classes by inverse frequency: n / (k n_c), with which n labels weigh n.

    Args:
        labels: int64 [N], -1 where unknown; n of them are known, n_c of class c, of k classes.
        num_classes: C.

    Returns:
        float32 [C]; 0 for a class without labels.
    """
    counts = count_labels(labels, num_classes)
    num_present = np.count_nonzero(counts)
    weights = counts.sum() / (num_present * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 0.0).astype(np.float32)


def classification_loss(
    logits: tf.Tensor, labels: tf.Tensor, class_weights: np.ndarray | None = None
) -> tuple[tf.Tensor, dict]:
    """Cross-entropy and accuracy over the labeled examples of all replicas.

    Args:
        logits: float32 [B, C].
        labels: int64 [B], -1 where unknown; such examples do not count.
        class_weights: float32 [C], factors on the losses of labels of a class; None: all are 1.

    Returns:
        (loss, {"supervised_loss", "supervised_acc"}), this replica's part of the global mean.
    """
    is_labeled = tf.cast(labels != UNLABELED, tf.float32)
    targets = tf.maximum(labels, 0)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    if class_weights is not None:
        losses *= tf.gather(class_weights, targets)
    loss = distribute.weighted_mean(losses, is_labeled)
    correct = tf.cast(tf.argmax(logits, -1) == targets, tf.float32)
    accuracy = distribute.weighted_mean(correct, is_labeled)
    return loss, dict(zip(LABEL_METRICS, (loss, accuracy)))


class Supervised(Objective):
    """Cross-entropy on logits from layer `ft_proj_selector` of the projection head.

    Later layers of the head are left out.
    """

    @classmethod
    def labeled_only(cls, settings: Config):
        return True

    def example(self, picture, label, seed, index=0, constant=None):
        if constant is not None:
            return {"features": constant, "label": label}
        return super().example(picture, label, seed, index)

    def constant_function(self):
        """The features of a frozen encoder, for linear evaluation without passes through it.

        Only without random augmentation.
        """
        is_frozen = self.settings.model.fine_tune_after_block >= LAST_GROUP
        if not is_frozen or augment.is_random(self.settings.augment):
            return None

        def features(images):
            return self.encoder(images, training=False)["final_avg_pool"]

        return features, self.encoder.feature_dim

    def outputs(self, batch, images, training):
        """{"logits": float32 [B, num_classes]}."""
        if images is not None:
            return {"logits": self(images, training=training)["logits_sup"]}
        head_input = self.head_input(batch["features"], training)
        return {"logits": self.supervised_head(head_input)}

    def loss_of(self, outputs, labels, training):
        return classification_loss(outputs["logits"], labels, self.class_weights)

    def inherited(self):
        head_ids = {id(v) for v in self.supervised_head.variables}
        return [v for v in self.variables if id(v) not in head_ids]
