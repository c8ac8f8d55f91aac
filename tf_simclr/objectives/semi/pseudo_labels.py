"""What is predicted of images without label: which of it counts, and whether it makes sense."""

import collections
import statistics

import tensorflow as tf

from tf_simclr import distribute

WINDOW = 20  # steps whose means are judged
WATCHED = ("mask_rate", "predicted_classes")
# `predicted_classes` up to which all predictions are of one class; of two classes a rare one may
# have few images.
ONE_CLASS, ONE_OF_TWO = 1.05, 1.01


def confident(probabilities: tf.Tensor, threshold: float | tf.Tensor) -> tf.Tensor:
    """Which predictions count: 1 where the largest probability is at least the threshold.

    Args:
        probabilities: float32 [B, C].
        threshold: in [0, 1], one for all or float32 [B].

    Returns:
        float32 [B], without gradient.
    """
    is_confident = tf.reduce_max(probabilities, -1) >= threshold
    return tf.cast(is_confident, tf.float32)


def hard_losses(logits: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """The cross-entropy of logits with the likeliest class of probabilities.

    Args:
        logits: float32 [B, C].
        probabilities: float32 [B, C]; no gradient goes through them.

    Returns:
        float32 [B].
    """
    classes = tf.argmax(probabilities, -1)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)


def loss_of_confident(
    losses: tf.Tensor,
    is_confident: tf.Tensor,
    predictions: tf.Tensor,
    is_unlabeled: tf.Tensor,
) -> tuple[tf.Tensor, dict]:
    """The mean loss of the images without label; see `SemiTask.unlabeled_loss`.

    Args:
        losses: float32 [B], 0 where the prediction does not count.
        is_confident: whether it counts, 1 or 0, float32 [B].
        predictions: probabilities, float32 [B, C].
        is_unlabeled: float32 [B], 1 for an image without label, else 0.

    Returns:
        (this replica's part of the global mean, {"mask_rate": share of the predictions that count,
        and those of `gauge`}).
    """
    return distribute.weighted_mean(losses, is_unlabeled), {
        "mask_rate": distribute.weighted_mean(is_confident, is_unlabeled),
        **gauge(predictions, is_unlabeled),
    }


def global_mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """The weighted mean of vectors over all replicas, the same on each of them.

    Args:
        values: float32 [B, D] of this replica.
        weights: float32 [B].

    Returns:
        float32 [D]; 0 where all weights are 0.
    """
    total = distribute.all_sum(tf.reduce_sum(values * weights[:, None], 0))
    return tf.math.divide_no_nan(total, distribute.all_sum(tf.reduce_sum(weights)))


def gauge(probabilities: tf.Tensor, is_unlabeled: tf.Tensor) -> dict[str, tf.Tensor]:
    """What the predictions for images without label are like.

    Args:
        probabilities: float32 [B, C].
        is_unlabeled: float32 [B], 1 for an image without label, else 0.

    Returns:
        {"confidence": mean of the largest probability, "predicted_classes": exp of the entropy of
        the mean prediction, C where all classes are as frequent and 1 where there is only one}.
    """
    mean = global_mean(probabilities, is_unlabeled)
    entropy = -tf.reduce_sum(mean * tf.math.log(tf.maximum(mean, 1e-12)))
    confidence = distribute.weighted_mean(tf.reduce_max(probabilities, -1), is_unlabeled)
    return {"confidence": confidence, "predicted_classes": tf.exp(entropy)}


class PredictionWatch:
    """Judges the metrics of the last `WINDOW` steps.

    Args:
        num_classes: C.
    """

    def __init__(self, num_classes: int):
        self._num_classes = num_classes
        self._recent = collections.deque(maxlen=WINDOW)

    def after(self, metrics: dict[str, float]) -> str | None:
        """To be called with the metrics of each step; returns what is wrong, or None."""
        self._recent.append(metrics)
        if len(self._recent) < WINDOW:
            return None
        means = {
            name: statistics.fmean(recent[name] for recent in self._recent)
            for name in WATCHED
            if name in metrics
        }
        return warning(means, self._num_classes)


def warning(means: dict[str, float], num_classes: int) -> str | None:
    """What is wrong with predictions for images without label, as a line, or None.

    Args:
        means: of the metrics `WATCHED` over `WINDOW` steps, of those that there are.
        num_classes: C.
    """
    if means.get("mask_rate") == 0:
        return (
            f"no image without label has counted in {WINDOW} steps, since no prediction is "
            "confident enough: only the labels teach anything; try a lower --confidence_threshold, "
            "or a start from a pretrained network"
        )
    classes = means.get("predicted_classes", num_classes)
    if num_classes > 1 and classes <= (ONE_CLASS if num_classes > 2 else ONE_OF_TWO):
        return (
            f"the predictions for images without label have collapsed to one class ({classes:.2f} "
            f"of {num_classes} in effect over {WINDOW} steps); try a smaller --unlabeled_weight "
            "or learning rate, or a start from a pretrained network"
        )
    return None
