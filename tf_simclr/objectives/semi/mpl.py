"""Meta Pseudo Labels: Pham et al. 2021, and the authors' code.

The code is https://github.com/google-research/google-research/tree/master/meta_pseudo_labels.
"""

import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.config import Config
from tf_simclr.data.source import UNLABELED
from tf_simclr.models.layers import repeated_pass
from tf_simclr.models.moving_baseline import MovingBaseline
from tf_simclr.models.network import Network
from tf_simclr.objectives.semi import pseudo_labels, ramps
from tf_simclr.objectives.semi.uda import consistency
from tf_simclr.objectives.semi.weak_strong import WeakStrongTask
from tf_simclr.objectives.supervised import classification_loss

TEMPERATURE = 0.75  # uda_temp of flag_utils.py
RAMP_END = 0.1  # of the training; 10,000 steps there, `uda_steps`
BASELINE_MOMENTUM = 0.99  # of `moving_dot_product` of training_utils.py


class MPL(WeakStrongTask):
    """A teacher labels images for a student, and learns from what that does to the student's loss.

    The learner is the student, which sees no label. The teacher learns from labels, by UDA, and
    from the change of the student's loss on the labels by its update (section 2, appendix A).
    """

    flags = ("confidence_threshold",)
    # Of flag_utils.py of the authors' code.
    published_threshold = 0.6
    published_ratio = 4.0

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        self.teacher_network = Network(settings, num_classes, "teacher")
        self.baseline = MovingBaseline(BASELINE_MOMENTUM)

    def build_state(self):
        self.baseline.build()

    @property
    def later_variables(self):
        return self.baseline.variables

    @property
    def trained_networks(self):
        return self.learner, self.teacher_network

    def turn_variables(self):
        return [network.trainable_variables for network in self.trained_networks]

    def example(self, picture, label, seed, index=0, constant=None):
        """Also the random number that draws the teacher's label."""
        view_seed, draw_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        draw = tf.random.stateless_uniform([], draw_seed)
        return {**super().example(picture, label, view_seed), "draw": draw}

    def turns(self, batch):
        """The student's update, then the teacher's."""
        images = self.images(batch)
        with repeated_pass():
            logits = self.outputs(batch, images, True)["logits"]
        drawn = draw_classes(tf.nn.softmax(logits[:, 1]), batch["draw"])
        seen = self._seen_by_student(images, batch["label"])
        before = self._loss_on_labels(seen, batch["label"])
        student, teacher = self.turn_variables()
        yield student, lambda: self._student_loss(seen, drawn, batch["label"])
        improvement = before - self._loss_on_labels(seen, batch["label"])
        self.baseline.update(improvement)  # before it is read, as in the authors' code
        yield teacher, lambda: self._teacher_loss(batch, images, drawn, improvement)

    def _seen_by_student(self, images, labels):
        """The strong views of images without label, the weak ones of the others."""
        weak, strong = tf.unstack(self.by_image(images), axis=1)
        is_unlabeled = labels == UNLABELED
        return tf.where(is_unlabeled[:, None, None, None], strong, weak)

    def _loss_on_labels(self, images, labels):
        """Of the student, over all replicas and without gradient: float32 scalar."""
        with repeated_pass():
            logits = self.learner(images, training=True)["logits_sup"]
        part, _ = classification_loss(logits, labels, self.class_weights)
        return tf.stop_gradient(distribute.all_sum(part) / distribute.replica_count())

    def _student_loss(self, images, drawn, labels):
        """The cross-entropy with the teacher's labels (section 2)."""
        logits = self.learner(images, training=True)["logits_sup"]
        is_unlabeled = tf.cast(labels == UNLABELED, tf.float32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(drawn, logits)
        loss = distribute.weighted_mean(losses, is_unlabeled)
        _, metrics = classification_loss(logits, labels, self.class_weights)
        return loss, {"student_loss": loss, **metrics}

    def _teacher_loss(self, batch, images, drawn, improvement):
        """Its own loss, and the feedback (appendix A).

        A label that has made the student better than labels usually do is to be likelier. Without
        a baseline all labels would be, while the student learns.
        """
        outputs = self.outputs(batch, images, True)
        labels = batch["label"]
        loss, metrics = self.loss_of(outputs, labels, True)
        is_unlabeled = tf.cast(labels == UNLABELED, tf.float32)
        strong = outputs["logits"][:, 1]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(drawn, strong)
        advantage = self.baseline.advantage(improvement)
        feedback = advantage * distribute.weighted_mean(losses, is_unlabeled)
        return loss + feedback, {
            **metrics,
            "student_improvement": improvement,
            "teacher_loss": loss,
            "teacher_acc": metrics["supervised_acc"],
        }

    def outputs(self, batch, images, training):
        """{"logits": float32 [B, 2, C]} of the teacher for both views."""
        logits = self.teacher_network(images, training=training)["logits_sup"]
        return {"logits": self.by_image(logits)}

    def ramp(self, progress):
        return ramps.linear(progress, 0.0, RAMP_END)

    def unlabeled_loss(self, outputs, is_unlabeled, training):
        """UDA of the teacher; of sharpened predictions those count that are sure enough."""
        weak, strong = tf.unstack(outputs["logits"], axis=1)
        sharpened = weak / TEMPERATURE
        losses, is_confident = consistency(sharpened, strong, self.threshold, temperature=1.0)
        predictions = tf.nn.softmax(weak)
        return pseudo_labels.loss_of_confident(losses, is_confident, predictions, is_unlabeled)


def draw_classes(probabilities: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
    """Classes that are drawn by their probabilities.

    Args:
        probabilities: float32 [B, C].
        u: float32 [B] in [0, 1).

    Returns:
        int64 [B], without gradient.
    """
    below = tf.cumsum(probabilities, axis=-1) <= u[:, None]
    classes = tf.reduce_sum(tf.cast(below, tf.int64), -1)
    return tf.stop_gradient(tf.minimum(classes, probabilities.shape[-1] - 1))
