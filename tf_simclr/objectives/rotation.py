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
        turned = [quarter_turns(images, turns) if self.settings.pretext.rotation_exact else resampled_turns(images, turns) for turns in range(TURNS)]
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
    """The same as an affine transform about (S/2, S/2): off by a pixel, with black where the image ends."""
    size = float(images.shape[1])
    cos, sin = (1.0, 0.0, -1.0, 0.0)[turns], (0.0, 1.0, 0.0, -1.0)[turns]
    x = y = size / 2
    transform = tf.constant([[cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y, 0.0, 0.0]])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images, transforms=transform, output_shape=images.shape[1:3], fill_value=0.0, interpolation="BILINEAR", fill_mode="CONSTANT")
