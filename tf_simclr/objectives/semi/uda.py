"""UDA: Xie et al. 2020, "Unsupervised Data Augmentation for Consistency Training"."""

import numpy as np
import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.data.source import UNLABELED
from tf_simclr.objectives.semi import pseudo_labels
from tf_simclr.objectives.semi.ramps import SIGNAL_SCHEDULES
from tf_simclr.objectives.semi.weak_strong import WeakStrongTask
from tf_simclr.objectives.supervised import classification_loss

SHARPENING_TEMPERATURE = 0.4  # tau, for CIFAR-10 (section 2.4)


class UDA(WeakStrongTask):
    """The strong view is to be predicted as the weak one, whose prediction is sharpened."""

    flags = ("confidence_threshold", "tsa")
    published_threshold = 0.8  # beta, for CIFAR-10 (section 2.4)
    published_ratio = 5.0  # run_cifar10_gpu.sh of the authors' code

    def label_loss(self, outputs, labels):
        """Labels that are learned already may be left out, see --tsa."""
        logits = outputs["logits"][:, 0]
        schedule = SIGNAL_SCHEDULES.get(self.settings.semi.tsa)
        if schedule is None:
            return super().label_loss(outputs, labels)
        threshold = signal_threshold(schedule(self.progress()), self.num_classes)
        loss, share = annealed_loss(logits, labels, threshold, self.class_weights)
        _, metrics = classification_loss(logits, labels, self.class_weights)
        return loss, {**metrics, "label_rate": share, "label_threshold": threshold}

    def unlabeled_loss(self, outputs, is_unlabeled, training):
        weak, strong = tf.unstack(outputs["logits"], axis=1)
        losses, is_confident = consistency(weak, strong, self.threshold)
        predictions = tf.nn.softmax(weak)
        return pseudo_labels.loss_of_confident(losses, is_confident, predictions, is_unlabeled)


def consistency(
    weak: tf.Tensor,
    strong: tf.Tensor,
    threshold: float,
    temperature: float = SHARPENING_TEMPERATURE,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The divergence of the strong view's prediction from the sharpened one of the weak view.

    Source: section 2.2, with confidence-based masking and sharpening of section 2.4.

    Args:
        weak: logits float32 [B, C], which get no gradient.
        strong: logits float32 [B, C].
        threshold: beta, of predictions that are not sharpened.
        temperature: tau, that sharpens them.

    Returns:
        (KL divergences float32 [B], 0 where the prediction does not count; whether it does,
        float32 [B]).
    """
    weak = tf.stop_gradient(weak)
    is_confident = pseudo_labels.confident(tf.nn.softmax(weak), threshold)
    targets = weak / temperature
    log_ratio = tf.nn.log_softmax(targets) - tf.nn.log_softmax(strong)
    divergences = tf.reduce_sum(tf.nn.softmax(targets) * log_ratio, -1)
    return is_confident * divergences, is_confident


def signal_threshold(coefficient: tf.Tensor, num_classes: int) -> tf.Tensor:
    """eta, from 1 / C where the coefficient is 0 to 1 where it is 1: float32 scalar."""
    return coefficient * (1 - 1 / num_classes) + 1 / num_classes


def annealed_loss(
    logits: tf.Tensor,
    labels: tf.Tensor,
    threshold: tf.Tensor,
    class_weights: np.ndarray | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The cross-entropy of the labels whose class is not more likely than a threshold.

    Args:
        logits: float32 [B, C].
        labels: int64 [B], -1 where unknown.
        threshold: eta, float32 scalar.
        class_weights: float32 [C], see `classification_loss`.

    Returns:
        (loss, the mean over those that count; share of the labels that count), this replica's parts
        of the global ones.
    """
    is_labeled = tf.cast(labels != UNLABELED, tf.float32)
    classes = tf.maximum(labels, 0)
    probabilities = tf.gather(tf.nn.softmax(logits), classes, batch_dims=1)
    counts = tf.stop_gradient(tf.cast(probabilities <= threshold, tf.float32))
    counted = tf.where(counts > 0, labels, UNLABELED)
    loss, _ = classification_loss(logits, counted, class_weights)
    return loss, distribute.weighted_mean(counts, is_labeled)
