"""Rotation (Gidaris, Singh and Komodakis 2018, "Unsupervised Representation Learning by Predicting Image Rotations")."""

import tensorflow as tf

from tf_simclr.models.heads import TaskHead
from tf_simclr.objectives.pretext import Pretext, guess

TURNS = 4  # an image is in the batch in all its rotations by quarter turns (sec. 2.2 and 3.1)


class Rotation(Pretext):
    """By how many quarter turns has the image been rotated?"""

    def __init__(self, settings, num_classes, num_images=0):
        super().__init__(settings, num_classes, num_images)
        self.head = TaskHead([], TURNS, *self.norm_options)

    def build_heads(self):
        self.head.build([None, self.encoder.feature_dim])

    def images(self, batch):
        """The four rotations of an image one after the other, [4B, S, S, 3]."""
        images = super().images(batch)
        turned = [
            quarter_turns(images, turns)
            if self.settings.pretext.rotation_exact
            else resampled_turns(images, turns)
            for turns in range(TURNS)
        ]
        return tf.reshape(tf.stack(turned, 1), [-1, *images.shape[1:]])

    def outputs(self, batch, images, training):
        """Logits float32 [B, 4, 4]: of each image in each rotation."""
        features = self.encoder(images, training=training)["final_avg_pool"]
        return {"logits": tf.reshape(self.head(features, training=training), [-1, TURNS, TURNS])}

    def loss_of(self, outputs, labels, training):
        """Eq. 2 and 3: the mean over images and rotations."""
        logits = tf.reshape(outputs["logits"], [-1, TURNS])
        return guess(logits, tf.range(logits.shape[0]) % TURNS)


def quarter_turns(images, turns):
    """Square images [B, S, S, 3] turned counter-clockwise, pixel by pixel: transposed and mirrored, so that nothing is left to see of it."""
    if turns % 2:
        images = tf.transpose(images, [0, 2, 1, 3])
    axes = {0: [], 1: [1], 2: [1, 2], 3: [2]}[turns]
    return tf.reverse(images, axes) if axes else images


def resampled_turns(images, turns):
    """What an affine transform about (S/2, S/2) makes of it: off by a row, a column or both, with black where the image ends."""
    size, row, column = images.shape[1], int(turns in (1, 2)), int(turns in (2, 3))
    return tf.pad(quarter_turns(images, turns), [[0, 0], [row, 0], [column, 0], [0, 0]])[
        :, :size, :size
    ]
