"""Counting: Noroozi, Pirsiavash and Favaro 2017, "Representation Learning by Learning to Count"."""

import math

import numpy as np
import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.config import Config
from tf_simclr.data import patches
from tf_simclr.models.heads import TaskHead
from tf_simclr.models.layers import relu
from tf_simclr.objectives.pretext import Pretext

NUM_COUNTS = 1000  # outputs of phi (section 4)
NUM_TILES = 4  # T_j, the quadrants
CHANNEL_MEAN = (1 / 3, 1 / 3, 1 / 3)  # which makes an image gray
# Of the downsampling D; the first one if none is drawn.
METHODS = ("area", "bilinear", "bicubic", "lanczos3")
# Share of the root of the margin below which the counts are nothing.
COLLAPSED = 0.01
HEAD_DEVIATION = 0.01  # of the initial weights of the head's last layer


class Counting(Pretext):
    """What is counted in the whole image is the sum of what is counted in its quadrants.

    Another image's count is not. The network sees images of half the size: an image downsampled by
    2, and its four tiles.

    Attributes:
        tile: side of a tile in pixels.
    """

    couples_examples = True

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        self.tile = settings.data.image_size // 2
        width = settings.pretext.pretext_width
        self.head = TaskHead([width] * 2, NUM_COUNTS, *self.norm_options)
        # Answers start with a deviation of 0.01 sqrt(width / 2). Scaled by it, the counts start
        # within the margin at any width: from far beyond it, as with a width of 4096 unscaled, they
        # fell to zero within a few steps and stayed there.
        self.scale = 1 / (HEAD_DEVIATION * math.sqrt(width / 2 * NUM_COUNTS))
        self.downsampling = downsampling_matrices(self.tile)

    def build_heads(self):
        self.head.build([None, self.encoder.feature_dim])

    def example(self, picture, label, seed, index=0, constant=None):
        """An image, and how it is downsampled.

        Returns:
            {"image": uint8 [2T, 2T, 3], "method": int32, an index of METHODS, "label"}.
        """
        options = self.settings.pretext
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
        geometry_seed, gray_seed, method_seed = seeds
        image = self.random_crop(picture, geometry_seed, 2 * self.tile)
        num_methods = len(METHODS) if options.random_downsampling else 1
        method = tf.random.stateless_uniform([], method_seed, 0, num_methods, tf.int32)
        image, _ = patches.sometimes_gray(
            image, gray_seed, options.counting_grey_probability, CHANNEL_MEAN
        )
        return {"image": image, "method": method, "label": label}

    @property
    def encoder_input(self):
        return 1 + NUM_TILES, self.tile

    def images(self, batch):
        """Of each image the downsampled one, then its tiles.

        Returns:
            float32 [5B, T, T, 3], tiles from left to right and top to bottom.
        """
        images = super().images(batch)  # [B, 2T, 2T, 3]
        whole = downsampled(images, tf.gather(self.downsampling, batch["method"]))
        all_images = tf.concat([whole[:, None], tiles(images)], 1)  # [B, 5, T, T, 3]
        return tf.reshape(all_images, [-1, self.tile, self.tile, 3])

    def outputs(self, batch, images, training):
        """phi of the downsampled image and of each of its tiles, at least 0.

        Returns:
            {"counts": float32 [B, 5, 1000]}.
        """
        features = self.encoder(images, training=training)["final_avg_pool"]
        counts = relu(self.scale * self.head(features, training=training))
        return {"counts": tf.reshape(counts, [-1, 1 + NUM_TILES, NUM_COUNTS])}

    def output_shapes(self):
        return {"counts": [1 + NUM_TILES, NUM_COUNTS]}

    def loss_of(self, outputs, labels, training):
        """The other image y of each is the next one of the global batch."""
        counts = outputs["counts"]
        margin = self.settings.pretext.counting_margin
        whole = counts[:, 0]  # [B, 1000]
        all_whole = distribute.all_gather(whole)  # [N, 1000]
        batch = whole.shape[0]
        index = distribute.replica_id() * batch + tf.range(batch)
        other = tf.gather(all_whole, (index + 1) % all_whole.shape[0])
        loss = counting_loss(whole, tf.reduce_sum(counts[:, 1:], 1), other, margin)
        return loss, {
            "pretext_loss": loss,
            "pretext_chance": tf.constant(margin),
            "counting_scale": tf.reduce_mean(tf.norm(whole, axis=-1)),
        }

    def warning(self, metrics):
        scale = metrics["counting_scale"]
        if scale < COLLAPSED * math.sqrt(self.settings.pretext.counting_margin):
            return (
                f"the counts have collapsed: their mean length is {scale:.2g}; "
                "try a smaller learning rate or more warm-up"
            )
        return None


def counting_loss(
    whole: tf.Tensor, tile_sum: tf.Tensor, other: tf.Tensor, margin: float
) -> tf.Tensor:
    """Equation 4, the mean over the batch: a count of zero everywhere costs `margin`.

    Args:
        whole: phi(D.x) [B, d].
        tile_sum: the sum of phi(T_j.x) [B, d].
        other: phi(D.y) [B, d].
        margin: M.

    Returns:
        float32 scalar.
    """
    same = tf.reduce_sum(tf.math.squared_difference(whole, tile_sum), -1)
    different = tf.reduce_sum(tf.math.squared_difference(other, tile_sum), -1)
    return tf.reduce_mean(same + tf.maximum(margin - different, 0.0))


def tiles(images: tf.Tensor) -> tf.Tensor:
    """The quadrants of [B, 2T, 2T, 3]: [B, 4, T, T, 3]."""
    quadrants = []
    for half in tf.split(images, 2, 1):
        quadrants += tf.split(half, 2, 2)
    return tf.stack(quadrants, 1)


def downsampling_matrices(size: int) -> np.ndarray:
    """What each of METHODS, with antialiasing, does to a column of pixels.

    Matrix products work on every device, and compiled by XLA, which the operations for resizing do
    not.

    Returns:
        float32 [M, size, 2 size].
    """
    columns = tf.eye(2 * size)[None, :, :, None]
    matrices = []
    for method in METHODS:
        resized = tf.image.resize(columns, [size, 2 * size], method, antialias=True)
        matrices.append(resized[..., 0])
    return tf.concat(matrices, 0).numpy()


def downsampled(images: tf.Tensor, matrices: tf.Tensor) -> tf.Tensor:
    """Images of half the size.

    Args:
        images: [B, 2T, 2T, 3].
        matrices: [B, T, 2T], one an image.

    Returns:
        [B, T, T, 3] in [0, 1].
    """
    halved = tf.einsum("bih,bhwc,bjw->bijc", matrices, images, matrices)
    return tf.clip_by_value(halved, 0.0, 1.0)
