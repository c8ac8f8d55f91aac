"""Distillation and self-training with unlabelled images (SimCLRv2 sec. 2, eq. 2 and 3)."""

import tensorflow as tf

from tf_simclr.data import augment
from tf_simclr.data.source import UNLABELED
from tf_simclr.objectives.supervised import Supervised, classification_loss


def distillation_loss(student, teacher, labels, alpha, temperature):
    """(1 - alpha) * cross-entropy on the labels + alpha * cross-entropy on the teacher's predictions.

    Both are sums over the batch divided by its size, so the labels weigh less the fewer of them there are in it (eq. 3).

    Args:
        student, teacher: logits float32 [B, C]. labels: int64 [B], -1 where unknown.
        alpha: in [0, 1]; 1 uses no label. temperature: of both predictions in the second term; the first has none.

    Returns:
        (loss, {"distill_loss": the second term without alpha}).
    """
    known = tf.cast(labels != UNLABELED, tf.float32)
    hard = known * tf.nn.sparse_softmax_cross_entropy_with_logits(
        tf.maximum(labels, 0), student
    )  # [B]
    soft = tf.nn.softmax_cross_entropy_with_logits(
        tf.nn.softmax(teacher / temperature), student / temperature
    )  # [B]
    return tf.reduce_mean((1 - alpha) * hard + alpha * soft), {"distill_loss": tf.reduce_mean(soft)}


class Distillation(Supervised):
    """The student learns to predict what a frozen teacher does on the same augmented image."""

    needs_teacher = True

    @classmethod
    def labeled_only(cls, settings):
        return not settings.objective.distill_unlabeled

    def example(self, picture, label, seed, index=0, constant=None):
        example = super().example(picture, label, seed, index)
        return example if constant is None else {**example, "teacher_logits": constant}

    def constant_function(self):
        """The teacher's logits, where it sees the same images again and again."""
        return (
            None
            if augment.is_random(self.settings.augment)
            else (self.teacher, self.supervised_head.units)
        )

    def targets(self, batch, images, training):
        """The teacher's logits float32 [B, num_classes]."""
        return {
            "teacher": tf.stop_gradient(
                batch["teacher_logits"] if "teacher_logits" in batch else self.teacher(images)
            )
        }

    def loss_of(self, outputs, labels, training):
        options, student, teacher = self.settings.objective, outputs["logits"], outputs["teacher"]
        loss, metrics = distillation_loss(
            student, teacher, labels, options.distill_alpha, options.distill_temperature
        )
        agreement = tf.cast(tf.argmax(student, -1) == tf.argmax(teacher, -1), tf.float32)
        return loss, {
            **metrics,
            "teacher_agreement": tf.reduce_mean(agreement),
            **classification_loss(student, labels)[1],
        }
