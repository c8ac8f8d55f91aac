"""Distillation and self-training with unlabeled images (SimCLRv2 section 2, equations 2 and 3)."""

import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.data import augment
from tf_simclr.data.source import UNLABELED
from tf_simclr.objectives.supervised import Supervised, classification_loss


def distillation_loss(
    student: tf.Tensor, teacher: tf.Tensor, labels: tf.Tensor, alpha: float, temperature: float
) -> tuple[tf.Tensor, dict]:
    """(1 - alpha) * cross-entropy on the labels + alpha * that on the teacher's predictions.

    Both are sums over the batch divided by its size, so the labels weigh less the fewer of them
    there are in it (equation 3).

    Args:
        student: logits float32 [B, C].
        teacher: logits float32 [B, C].
        labels: int64 [B], -1 where unknown.
        alpha: in [0, 1]; 1 uses no label.
        temperature: of both predictions in the second term; the first has none.

    Returns:
        (loss, {"distill_loss": the second term without alpha}).
    """
    is_labeled = tf.cast(labels != UNLABELED, tf.float32)
    targets = tf.maximum(labels, 0)
    hard = is_labeled * tf.nn.sparse_softmax_cross_entropy_with_logits(targets, student)  # [B]
    soft_targets = tf.nn.softmax(teacher / temperature)
    soft = tf.nn.softmax_cross_entropy_with_logits(soft_targets, student / temperature)  # [B]
    loss = tf.reduce_mean((1 - alpha) * hard + alpha * soft)
    return loss, {"distill_loss": tf.reduce_mean(soft)}


class Distillation(Supervised):
    """The student learns to predict what a frozen teacher does on the same augmented image."""

    teacher_output = "logits_sup"

    @classmethod
    def labeled_only(cls, settings: Config):
        return not settings.objective.distill_unlabeled

    def example(self, picture, label, seed, index=0, constant=None):
        example = super().example(picture, label, seed, index)
        return example if constant is None else {**example, "teacher_logits": constant}

    def constant_function(self):
        """The teacher's logits, where it sees the same images again and again."""
        if augment.is_random(self.settings.augment):
            return None
        return self.teacher, self.supervised_head.units

    def targets(self, batch, images, training):
        """{"teacher": logits float32 [B, num_classes]}."""
        is_computed = "teacher_logits" in batch
        logits = batch["teacher_logits"] if is_computed else self.teacher(images)
        return {"teacher": tf.stop_gradient(logits)}

    def loss_of(self, outputs, labels, training):
        options = self.settings.objective
        student, teacher = outputs["logits"], outputs["teacher"]
        loss, metrics = distillation_loss(
            student,
            teacher,
            labels,
            alpha=options.distill_alpha,
            temperature=options.distill_temperature,
        )
        agrees = tf.cast(tf.argmax(student, -1) == tf.argmax(teacher, -1), tf.float32)
        _, label_metrics = classification_loss(student, labels)
        return loss, {**metrics, "teacher_agreement": tf.reduce_mean(agrees), **label_metrics}
