"""S4L-Rotation: Zhai et al. 2019, "S4L: Self-Supervised Semi-Supervised Learning"."""

import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.config import Config
from tf_simclr.models.heads import TaskHead
from tf_simclr.objectives.rotation import TURNS, in_all_turns, quarter_turns
from tf_simclr.objectives.semi import pseudo_labels
from tf_simclr.objectives.semi.base import SemiTask
from tf_simclr.objectives.supervised import classification_loss


class S4L(SemiTask):
    """By how many quarter turns has an image been rotated? And what is on it?

    All images are in the batch in all four rotations, and the labels hold for each (section 3).
    """

    num_views = TURNS
    published_ratio = 1.0  # unsup_batch_mult in s4l_rotation.sh of the authors' code

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        model = settings.model
        self.rotation_head = TaskHead([], TURNS, model.batch_norm_decay, model.global_bn)

    def build_state(self):
        self.rotation_head.build([None, self.encoder.feature_dim])

    def images(self, batch):
        """The four rotations of an image one after the other, [4B, S, S, 3]."""
        return in_all_turns(super().images(batch), quarter_turns)

    def outputs(self, batch, images, training):
        """Also {"rotations": float32 [B, 4, 4]}, logits of each image in each rotation."""
        endpoints = self.learner(images, training=training)
        rotations = self.rotation_head(endpoints["final_avg_pool"], training=training)
        return {
            "logits": self.by_image(endpoints["logits_sup"]),
            "rotations": self.by_image(rotations),
        }

    def output_shapes(self):
        return {**super().output_shapes(), "rotations": [TURNS, TURNS]}

    def label_loss(self, outputs, labels):
        logits = tf.reshape(outputs["logits"], [-1, self.num_classes])
        return classification_loss(logits, tf.repeat(labels, TURNS), self.class_weights)

    def unlabeled_loss(self, outputs, is_unlabeled, training):
        """The mean of those of images with and without a label, as in the authors' code."""
        losses, is_right = rotation_losses(outputs["rotations"])
        unlabeled = distribute.weighted_mean(losses, is_unlabeled)
        labeled = distribute.weighted_mean(losses, 1 - is_unlabeled)
        return (unlabeled + labeled) / 2, {
            "rotation_acc": distribute.weighted_mean(is_right, tf.ones_like(is_right)),
            **pseudo_labels.gauge(tf.nn.softmax(outputs["logits"][:, 0]), is_unlabeled),
        }


def rotation_losses(rotations: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The cross-entropy of the right rotations.

    Args:
        rotations: logits float32 [B, 4, 4] of each image in each rotation.

    Returns:
        (mean over the rotations of an image, float32 [B]; share of right answers, float32 [B]).
    """
    turns = tf.tile(tf.range(TURNS)[None], [rotations.shape[0], 1])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(turns, rotations)
    is_right = tf.cast(tf.argmax(rotations, -1, turns.dtype) == turns, tf.float32)
    return tf.reduce_mean(losses, -1), tf.reduce_mean(is_right, -1)
