"""What the pretext tasks share: an encoder alone, and heads of the task's own.

These heads are neither exported nor fine-tuned.
"""

import math

import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.objectives.base import Objective


def guess(logits: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, dict]:
    """Cross-entropy and accuracy of a choice among K answers.

    Args:
        logits: [N, K].
        target: integer [N].

    Returns:
        (loss, {"pretext_loss", "pretext_acc", "pretext_chance": the loss at chance level, ln K}).
    """
    logits = tf.cast(logits, tf.float32)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(target, logits))
    correct = tf.cast(tf.argmax(logits, -1, target.dtype) == target, tf.float32)
    num_answers = logits.shape[-1]
    return loss, {
        "pretext_loss": loss,
        "pretext_acc": tf.reduce_mean(correct),
        "pretext_chance": tf.constant(math.log(num_answers)),
    }


class Pretext(Objective):
    """A task whose answers are made from the images themselves.

    A subclass gives `outputs` (see `Objective`) and builds its heads in `build_heads`. If it asks
    which of K answers is right, `outputs` gives their "logits", and "target" where the batch has
    none; else it gives `loss_of`, too. The metrics of the loss are `pretext_loss`,
    `pretext_chance`, which is what a trivial answer would cost, and `pretext_acc` if there are
    right answers.
    """

    has_task = True

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, 0, num_images)

    @property
    def norm_options(self) -> tuple[float, bool]:
        """(batch_norm_decay, global_bn) of the batch norm in the heads."""
        return self.settings.model.batch_norm_decay, self.settings.model.global_bn

    def last_map(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The encoder's last feature map [B, h, h, C] of images."""
        return self.encoder(images, training=training)[self.encoder.last_map]

    def build_variables(self):
        # First of all: made by `build_heads`, the encoder's variables would have other paths than
        # in other trainings.
        size = self.settings.data.image_size
        self(tf.zeros([1, size, size, 3]))
        self.build_heads()
        super().build_variables()

    def build_heads(self):
        """Makes the variables of the heads; those of the objective itself are in `__init__`."""
        raise NotImplementedError

    def targets(self, batch, images, training):
        return {"target": batch["target"]} if "target" in batch else {}

    def loss_of(self, outputs, labels, training):
        return guess(outputs["logits"], outputs["target"])

    def inherited(self):
        return self.encoder.variables
