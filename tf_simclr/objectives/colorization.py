"""Colorization (Zhang, Isola and Efros 2016, "Colorful Image Colorization")."""

import functools

import keras
import numpy as np
import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.config import Config
from tf_simclr.data.resizing import area_means
from tf_simclr.models.color_space import lab_to_rgb, rgb_to_lab
from tf_simclr.models.decoder import Decoder
from tf_simclr.objectives.pretext import Pretext

GRID = 10  # side of a bin in ab (section 2.1)
NUM_NEIGHBORS = 5  # bins that the color of a pixel is spread over (section 2.1)
# Of the Gaussians that spread a color (section 2.1) and smooth the distribution (section 2.2).
SIGMA = 5.0
UNIFORM = 0.5  # lambda, share of the uniform distribution in the weights (section 2.2)
TEMPERATURE = 0.38  # of the annealed mean (section 2.3)
REDUCTION = 4  # side in pixels of the area whose color is predicted (figure 2)
LEVEL_STEP = 3  # of the 256 levels of a channel, those that are looked at
CELLS = 32  # cells of the grid along a and b, more than sRGB reaches


class Colorization(Pretext):
    """Which colors has the gray image?

    For each pixel of a smaller image the distribution over bins of ab, see `models.color_space`.
    """

    loss_has_state = True  # how often each bin was seen

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        num_bins = len(bins())
        size = -(-settings.data.image_size // REDUCTION)
        self.decoder = Decoder(settings.pretext.decoder_width, size, num_bins, *self.norm_options)
        # How often each bin was seen, in batches. It starts with one batch of all colors alike, so
        # that no bin is ever without a chance.
        self.seen = self.add_weight(
            name="bins_seen",
            shape=(num_bins,),
            initializer=keras.initializers.Constant(1 / num_bins),
            trainable=False,
            autocast=False,
            dtype="float32",
            aggregation="none",  # equal on all replicas
        )

    def build_heads(self):
        size = self.settings.data.image_size
        self.decoder(self.last_map(tf.zeros([1, size, size, 3])))

    def outputs(self, batch, images, training):
        """{"logits": float32 [B, n, n, Q]} of what the lightness of the images shows."""
        feature_map = self.last_map(lightness(images), training)
        return {"logits": self.decoder(feature_map, training=training)}

    def targets(self, batch, images, training):
        """{"ab": float32 [B, n, n, 2]}: the mean of the pixels that each covers."""
        return {"ab": area_means(rgb_to_lab(images)[..., 1:], self.decoder.size)}

    def output_shapes(self):
        side = self.decoder.size
        return {"logits": [side, side, len(bins())], "ab": [side, side, 2]}

    def loss_of(self, outputs, labels, training):
        """Equation 2, as the mean over the pixels of the batch.

        `pretext_chance` is the loss of predicting how often each bin was seen so far.
        """
        logits = tf.reshape(outputs["logits"], [-1, len(bins())])  # [N, Q]
        ab = outputs["ab"]
        nearest, shares = soft_encoding(tf.reshape(ab, [-1, 2]))  # [N, 5]
        distribution = self.seen / tf.reduce_sum(self.seen)
        if training:
            self.count(nearest, shares, ab.shape[0])
        weights = 1.0
        if self.settings.pretext.colour_rebalancing:
            weights = tf.gather(rebalancing(distribution), nearest[:, 0])  # equation 3
        log_predicted = tf.gather(tf.nn.log_softmax(logits), nearest, batch_dims=1)
        log_distribution = tf.gather(tf.math.log(distribution), nearest)
        loss = tf.reduce_mean(weights * cross_entropy(shares, log_predicted))
        chance = tf.reduce_mean(weights * cross_entropy(shares, log_distribution))
        correct = tf.cast(tf.argmax(logits, -1, tf.int32) == nearest[:, 0], tf.float32)
        return loss, {
            "pretext_loss": loss,
            "pretext_acc": tf.reduce_mean(correct),
            "pretext_chance": chance,
        }

    def count(self, nearest: tf.Tensor, shares: tf.Tensor, num_images: int):
        """Adds the colors of the global batch to those seen.

        Args:
            nearest: bins int32 [N, 5] of `soft_encoding`.
            shares: float32 [N, 5] of `soft_encoding`.
            num_images: how many images the pixels are from.
        """
        num_bins = len(bins())
        num_pixels = nearest.shape[0]
        image = tf.repeat(tf.range(num_images), num_pixels // num_images)  # [N]
        segments = tf.reshape(nearest + num_bins * image[:, None], [-1])
        # By image first: millions of numbers, one by one, are too many for float32.
        counts = tf.math.unsorted_segment_sum(
            tf.reshape(shares, [-1]), segments, num_images * num_bins
        )
        counts = tf.reduce_sum(tf.reshape(counts, [num_images, -1]), 0)
        counts = distribute.all_sum(counts)
        self.seen.assign_add(counts / tf.reduce_sum(counts))

    def pictures(self, batch):
        """What the encoder sees, and its lightness with the colors that are predicted."""
        images = self.images(batch)
        logits = self.outputs(batch, images, False)["logits"]
        ab = tf.image.resize(annealed_mean(logits), images.shape[1:3])  # [B, S, S, 2]
        lab = tf.concat([rgb_to_lab(images)[..., :1], ab], -1)
        return {"lightness": lightness(images), "colourised": lab_to_rgb(lab)}


def lightness(images: tf.Tensor) -> tf.Tensor:
    """sRGB [B, S, S, 3] -> L / 100 in [0, 1] in all three channels.

    The encoder has three channels, since later it is fed colors.
    """
    return tf.repeat(rgb_to_lab(images)[..., :1] / 100, 3, axis=-1)


@functools.cache
def bins() -> np.ndarray:
    """The centers of the bins: the multiples of 10 in ab that are nearest to some color of sRGB.

    Q is 261: of all 2^24 colors, and as well of those taken here, every third level on the surface
    of the cube, since whatever ab has some lightness brings to the surface. The paper's 313 come
    from a list which it does not derive. 8-bit sRGB hits no more than 261 cells of this grid, so
    that list has others beside them; nothing is lost without bins that no image has.

    Returns:
        float32 [Q, 2].
    """
    level = np.arange(0, 256, LEVEL_STEP) / 255
    square = np.stack(np.meshgrid(level, level), -1).reshape(-1, 2)
    faces = [np.insert(square, channel, end, axis=1) for channel in range(3) for end in (0, 1)]
    surface = np.concatenate(faces)
    with tf.init_scope(), tf.device("CPU"):
        ab = rgb_to_lab(tf.constant(surface))[:, 1:].numpy()
    cells = np.rint(ab / GRID).astype(int)
    is_hit = np.zeros([CELLS, CELLS], bool)
    is_hit[tuple(cells.T + CELLS // 2)] = True
    return ((np.argwhere(is_hit) - CELLS // 2) * GRID).astype(np.float32)


@functools.cache
def smoothing() -> np.ndarray:
    """Gaussians between the bins: what [q, r] of the colors in r goes to q.

    Each column sums to 1, none is lost at the border.

    Returns:
        float32 [Q, Q].
    """
    differences = bins()[:, None] - bins()
    distances = np.sum(np.square(differences), -1, dtype=np.float64)
    kernel = np.exp(-distances / (2 * SIGMA**2))
    return (kernel / kernel.sum(0)).astype(np.float32)


def soft_encoding(ab: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """H^-1 of section 2.1: a color as a distribution over the bins next to it.

    Args:
        ab: float32 [N, 2].

    Returns:
        (bins int32 [N, 5], the nearest first; their shares float32 [N, 5], which sum to 1).
    """
    centers = tf.constant(bins())
    # |ab|^2 less the squared distance, [N, Q].
    score = 2 * tf.matmul(ab, centers, transpose_b=True) - tf.reduce_sum(tf.square(centers), -1)
    nearest = tf.math.top_k(score, NUM_NEIGHBORS).indices
    # Not from the score: it has lost digits.
    differences = ab[:, None] - tf.gather(centers, nearest)
    distances = tf.reduce_sum(tf.square(differences), -1)
    return nearest, tf.nn.softmax(-distances / (2 * SIGMA**2))


def rebalancing(distribution: tf.Tensor) -> tf.Tensor:
    """Equation 4: the weight of each bin, whose mean over the smoothed distribution is 1.

    Args:
        distribution: float32 [Q], sums to 1.

    Returns:
        float32 [Q].
    """
    smoothed = tf.linalg.matvec(tf.constant(smoothing()), distribution)
    weights = 1 / ((1 - UNIFORM) * smoothed + UNIFORM / len(bins()))
    return weights / tf.reduce_sum(smoothed * weights)


def cross_entropy(shares: tf.Tensor, log_probabilities: tf.Tensor) -> tf.Tensor:
    """-sum_q Z_q log Z^_q over the bins where Z is not 0.

    Args:
        shares: float32 [N, 5] of `soft_encoding`.
        log_probabilities: log Z^ of the same bins, [N, 5].

    Returns:
        float32 [N].
    """
    return -tf.reduce_sum(shares * log_probabilities, -1)


def annealed_mean(logits: tf.Tensor, temperature: float = TEMPERATURE) -> tf.Tensor:
    """Equation 5: the colors of distributions over the bins.

    Args:
        logits: [..., Q].
        temperature: from the mean of a distribution (1) to its mode (0).

    Returns:
        ab [..., 2].
    """
    return tf.tensordot(tf.nn.softmax(logits / temperature), tf.constant(bins()), 1)
