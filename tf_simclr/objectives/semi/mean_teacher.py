"""Mean Teacher: Tarvainen and Valpola 2017.

"Mean teachers are better role models: Weight-averaged consistency targets improve semi-supervised
deep learning results", and the authors' code (https://github.com/CuriousAI/mean-teacher).
"""

import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.objectives.semi import pseudo_labels, ramps
from tf_simclr.objectives.semi.base import SemiTask

RAMP_END = 40 / 150  # of the training: 40,000 of 150,000 steps for CIFAR-10 (appendix B)


class MeanTeacher(SemiTask):
    """The learner predicts for a view what its moving average does for another one.

    Images with a label take part (appendix B). Batch norm of the teacher uses the statistics of the
    batch, as in the authors' code.
    """

    num_crops = 2
    # The weight of the authors' code is 100 times the share of labels, and so is that of the labels
    # in its mean over all images: relative to each other they are as here.
    published_weight = 100.0
    published_ratio = 194 / 62  # main.py of the authors' PyTorch code, of batches of 256

    def outputs(self, batch, images, training):
        """{"logits": float32 [B, 1, C]} of the learner for the first view."""
        return super().outputs(batch, self._view(images, 0), training)

    def targets(self, batch, images, training):
        """{"teacher": logits float32 [B, C]} of the average for the second view."""
        return {"teacher": self.average_logits(self._view(images, 1), training)}

    def _view(self, images, number):
        return tf.reshape(images, [-1, self.num_crops, *images.shape[1:]])[:, number]

    def output_shapes(self):
        return {**super().output_shapes(), "teacher": [self.num_classes]}

    def ramp(self, progress):
        return ramps.sigmoid(progress, RAMP_END)

    def unlabeled_loss(self, outputs, is_unlabeled, training):
        student, teacher = outputs["logits"][:, 0], tf.stop_gradient(outputs["teacher"])
        losses = squared_differences(student, teacher)
        loss = distribute.weighted_mean(losses, tf.ones_like(losses))
        return loss, pseudo_labels.gauge(tf.nn.softmax(teacher), is_unlabeled)


def squared_differences(student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
    """The mean over classes of the squared differences of two predictions (section 2).

    Args:
        student: logits float32 [B, C].
        teacher: logits float32 [B, C].

    Returns:
        float32 [B].
    """
    difference = tf.math.squared_difference(tf.nn.softmax(student), tf.nn.softmax(teacher))
    return tf.reduce_mean(difference, -1)
