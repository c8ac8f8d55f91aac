"""Rotation (Gidaris, Singh and Komodakis 2018).

"Unsupervised Representation Learning by Predicting Image Rotations".
"""

from collections.abc import Callable

import tensorflow as tf

from tf_simclr.models.heads import TaskHead
from tf_simclr.objectives.pretext import Pretext, guess

# An image is in the batch in all its rotations by quarter turns (sections 2.2 and 3.1).
TURNS = 4


class Rotation(Pretext):
    """By how many quarter turns has the image been rotated?"""

    def __init__(self, settings, num_classes, num_images=0):
        super().__init__(settings, num_classes, num_images)
        self.head = TaskHead([], TURNS, *self.norm_options)

    def build_heads(self):
        self.head.build([None, self.encoder.feature_dim])

    @property
    def encoder_input(self):
        return TURNS, self.settings.data.image_size

    def images(self, batch):
        """The four rotations of an image one after the other, [4B, S, S, 3]."""
        turn = quarter_turns if self.settings.pretext.rotation_exact else resampled_turns
        return in_all_turns(super().images(batch), turn)

    def outputs(self, batch, images, training):
        """{"logits": float32 [B, 4, 4]} of each image in each rotation."""
        features = self.encoder(images, training=training)["final_avg_pool"]
        logits = self.head(features, training=training)
        return {"logits": tf.reshape(logits, [-1, TURNS, TURNS])}

    def loss_of(self, outputs, labels, training):
        """Equations 2 and 3: the mean over images and rotations."""
        logits = tf.reshape(outputs["logits"], [-1, TURNS])
        return guess(logits, tf.range(logits.shape[0]) % TURNS)


def in_all_turns(images: tf.Tensor, turn: Callable) -> tf.Tensor:
    """The rotations of each image one after the other: [4B, S, S, 3] of [B, S, S, 3].

    Args:
        images: [B, S, S, 3].
        turn: a function of images and the number of quarter turns.
    """
    turned = [turn(images, turns) for turns in range(TURNS)]
    return tf.reshape(tf.stack(turned, 1), [-1, *images.shape[1:]])


def quarter_turns(images: tf.Tensor, turns: int) -> tf.Tensor:
    """Turns square images counter-clockwise, pixel by pixel.

    They are transposed and mirrored, so that no trace of it is left.

    Args:
        images: [B, S, S, 3].
        turns: 0 to 3.
    """
    if turns % 2:
        images = tf.transpose(images, [0, 2, 1, 3])
    mirrored_axes = {0: [], 1: [1], 2: [1, 2], 3: [2]}[turns]
    return tf.reverse(images, mirrored_axes) if mirrored_axes else images


def resampled_turns(images: tf.Tensor, turns: int) -> tf.Tensor:
    """What an affine transform about (S/2, S/2) makes of it.

    It is off by a row, a column or both, with black where the image ends.

    Args:
        images: [B, S, S, 3].
        turns: 0 to 3.
    """
    size = images.shape[1]
    row = int(turns in (1, 2))
    column = int(turns in (2, 3))
    turned = quarter_turns(images, turns)
    return tf.pad(turned, [[0, 0], [row, 0], [column, 0], [0, 0]])[:, :size, :size]
