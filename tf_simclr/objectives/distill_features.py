"""Features of a trained teacher, without labels: regression and similarities.

"SimReg: Regression as a Simple Yet Effective Tool for Self-supervised Knowledge Distillation"
(Navaneet et al. 2021) and "SEED: Self-supervised Distillation for Visual Representation" (Fang et
al. 2021).
"""

import keras
import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.config import Config
from tf_simclr.models.heads import TaskHead
from tf_simclr.models.memory_queue import MemoryQueue, logits_to_keys
from tf_simclr.objectives.pretext import Pretext

SIMILARITY = "similarity"  # a value of --feature_loss
WHOLE = "whole"  # a value of --teacher_view
HIDDEN_LAYERS = 2  # of the projector


class Projector(keras.layers.Layer):
    """The student's features h [B, C] -> features like the teacher's, float32 [B, D].

    Args:
        width: of its hidden layers.
        batch_norm_decay: momentum, see `layers.BatchNorm`.
        global_bn: statistics over all replicas, see `layers.BatchNorm`.
    """

    def __init__(self, width: int, batch_norm_decay: float, global_bn: bool):
        super().__init__(name="projector")
        self.width = width
        self.norm_options = (batch_norm_decay, global_bn)

    def build(self, dims):
        """Makes the variables for dims (C, D)."""
        student_dim, teacher_dim = dims
        self.head = TaskHead([self.width] * HIDDEN_LAYERS, teacher_dim, *self.norm_options)
        self.head.build([None, student_dim])

    def call(self, features, training=False):
        return self.head(features, training=training)


class DistillFeatures(Pretext):
    """The student's features, through a projector, follow those of a frozen teacher."""

    teacher_output = "final_avg_pool"

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        options = settings.pretext
        self.projector = Projector(options.pretext_width, *self.norm_options)
        self.queue = None
        if options.feature_loss == SIMILARITY:
            self.queue = MemoryQueue(options.feature_queue)
            self.loss_has_state = True

    def build_heads(self):
        self.projector.build((self.encoder.feature_dim, self.teacher.num_outputs))
        if self.queue is not None:
            self.queue.build([None, self.teacher.num_outputs])

    @property
    def _teacher_sees_whole(self):
        return self.settings.pretext.teacher_view == WHOLE

    def example(self, picture, label, seed, index=0, constant=None):
        """A view, and the teacher's features of the image or, where there are none, the image."""
        example = super().example(picture, label, seed, index)
        if constant is not None:
            return {**example, "teacher_features": constant}
        if self._teacher_sees_whole:
            return {**example, "whole": self.constant_example(picture, label)["image"]}
        return example

    def constant_function(self):
        """The teacher's features of whole images."""
        if not self._teacher_sees_whole:
            return None
        return self.teacher, self.teacher.num_outputs

    def constant_example(self, picture, label):
        """The image as in evaluation."""
        return self.eval_example(picture.whole(), label)

    def outputs(self, batch, images, training):
        """{"student": float32 [B, D]}."""
        features = self.encoder(images, training=training)["final_avg_pool"]
        return {"student": self.projector(features, training=training)}

    def targets(self, batch, images, training):
        """{"teacher": float32 [B, D]}."""
        if "teacher_features" in batch:
            features = batch["teacher_features"]
        else:
            features = self.teacher(batch.get("whole", images))
        return {"teacher": tf.stop_gradient(features)}

    def output_shapes(self):
        dim = self.teacher.num_outputs
        return {"student": [dim], "teacher": [dim]}

    def loss_of(self, outputs, labels, training):
        student = tf.math.l2_normalize(outputs["student"], -1)
        teacher = tf.math.l2_normalize(outputs["teacher"], -1)
        if self.queue is None:
            loss, chance = regression_loss(student, teacher)
        else:
            loss, chance = self._similarity_loss(student, teacher)
            if training:
                self.queue.enqueue(distribute.all_gather(teacher))
        cosine = tf.reduce_mean(tf.reduce_sum(student * teacher, -1))
        return loss, {"pretext_loss": loss, "pretext_chance": chance, "teacher_cosine": cosine}

    def _similarity_loss(self, student, teacher):
        options = self.settings.pretext
        keys, num_filled = self.queue.negatives()
        return similarity_loss(
            student,
            teacher,
            keys,
            num_filled,
            student_temperature=options.feature_student_temperature,
            teacher_temperature=options.feature_teacher_temperature,
        )


def regression_loss(student: tf.Tensor, teacher: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The mean squared distance of normalized features (SimReg, section 3).

    Args:
        student: of length 1, float32 [B, D].
        teacher: of length 1, float32 [B, D].

    Returns:
        (loss, what the best constant answer costs).
    """
    loss = tf.reduce_mean(tf.reduce_sum(tf.math.squared_difference(student, teacher), -1))
    return loss, 2 - 2 * tf.norm(tf.reduce_mean(teacher, 0))


def similarity_loss(
    student: tf.Tensor,
    teacher: tf.Tensor,
    keys: tf.Tensor,
    num_filled: tf.Tensor,
    *,
    student_temperature: float,
    teacher_temperature: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cross-entropy of the similarities to a queue, and to the teacher's own features.

    Source: SEED, equations 3 to 5.

    Args:
        student: of length 1, float32 [B, D].
        teacher: of length 1, float32 [B, D].
        keys: features of the teacher for other images, float32 [K, D].
        num_filled: how many of them there are, the first ones.
        student_temperature: tau of the student's distribution.
        teacher_temperature: tau of the teacher's.

    Returns:
        (loss, what equal similarities cost).
    """

    def logits(queries, temperature):
        to_teacher = tf.reduce_sum(queries * teacher, -1, keepdims=True)  # [B, 1]
        to_keys = logits_to_keys(queries, keys, num_filled, temperature)  # [B, K]
        return tf.concat([to_keys, to_teacher / temperature], -1)

    probabilities = tf.nn.softmax(logits(teacher, teacher_temperature))
    student_logits = logits(student, student_temperature)
    loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(probabilities, student_logits))
    return loss, tf.math.log(tf.cast(num_filled, tf.float32) + 1)
