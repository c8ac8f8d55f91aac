"""Colorization (Zhang, Isola and Efros 2016, "Colorful Image Colorization").

Colours are of sRGB in [0, 1], or of CIE Lab: lightness L in [0, 100] and the colour ab, seen by the light D65.
"""

import functools

import keras
import numpy as np
import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.models.decoder import Decoder
from tf_simclr.models.layers import AGAIN
from tf_simclr.objectives.pretext import Pretext

GRID = 10  # side of a bin in ab (sec. 2.1)
NEIGHBORS = 5  # bins that the colour of a pixel is spread over (sec. 2.1)
SIGMA = 5.0  # of the Gaussians that spread a colour (sec. 2.1) and smooth the distribution of all (sec. 2.2)
UNIFORM = 0.5  # lambda, share of the uniform distribution in the weights (sec. 2.2)
TEMPERATURE = 0.38  # of the annealed mean (sec. 2.3)
REDUCTION = 4  # pixels of the image along the side of one whose colour is predicted (fig. 2)

XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)  # of linear sRGB
XYZ /= XYZ.sum(1, keepdims=True)  # relative to white, so that greys have a = b = 0
BEND = 6 / 29  # where the cube root of Lab goes over into a line


class Colorization(Pretext):
    """Which colours has the grey image? For each pixel of a smaller image the distribution over bins of ab."""

    def __init__(self, settings, num_classes, num_images=0):
        super().__init__(settings, num_classes, num_images)
        self.decoder = Decoder(
            settings.pretext.decoder_width,
            -(-settings.data.image_size // REDUCTION),
            len(bins()),
            *self.norm_options,
        )
        # How often each bin was seen, in batches. It starts with one batch of all colours alike, so that no bin is ever without a chance.
        self.seen = self.add_weight(
            name="bins_seen",
            shape=(len(bins()),),
            initializer=keras.initializers.Constant(1 / len(bins())),
            trainable=False,
            autocast=False,
            dtype="float32",
            aggregation="none",
        )  # equal on all replicas

    def build_heads(self):
        size = self.settings.data.image_size
        self.decoder(self.last_map(tf.zeros([1, size, size, 3])))

    def outputs(self, batch, images, training):
        """Logits float32 [B, n, n, Q] of what the lightness of the images shows."""
        return {
            "logits": self.decoder(self.last_map(lightness(images), training), training=training)
        }

    def targets(self, batch, images, training):
        """The colours "ab" float32 [B, n, n, 2]: the mean of the pixels that each covers."""
        return {"ab": shrink(lab_of(images)[..., 1:], self.decoder.size)}

    def loss_of(self, outputs, labels, training):
        """Eq. 2, as the mean over the pixels of the batch. `pretext_chance`: of predicting how often each bin was seen so far."""
        logits = tf.reshape(outputs["logits"], [-1, len(bins())])
        near, shares = soft_encoding(tf.reshape(outputs["ab"], [-1, 2]))  # [N, 5]
        distribution = self.seen / tf.reduce_sum(self.seen)
        if training and training is not AGAIN:
            self.count(near, shares, outputs["ab"].shape[0])
        weights = (
            tf.gather(rebalancing(distribution), near[:, 0])
            if self.settings.pretext.colour_rebalancing
            else 1.0
        )  # eq. 3
        loss = tf.reduce_mean(
            weights
            * cross_entropy(shares, tf.gather(tf.nn.log_softmax(logits), near, batch_dims=1))
        )
        chance = tf.reduce_mean(
            weights * cross_entropy(shares, tf.gather(tf.math.log(distribution), near))
        )
        correct = tf.cast(tf.argmax(logits, -1, tf.int32) == near[:, 0], tf.float32)
        return loss, {
            "pretext_loss": loss,
            "pretext_acc": tf.reduce_mean(correct),
            "pretext_chance": chance,
        }

    def count(self, near, shares, images):
        """Adds the colours of the global batch, as `soft_encoding` gives them, to those seen. images: how many the pixels are from."""
        image = tf.repeat(tf.range(images), near.shape[0] // images)  # [N]
        each = tf.math.unsorted_segment_sum(
            tf.reshape(shares, [-1]),
            tf.reshape(near + len(bins()) * image[:, None], [-1]),
            images * len(bins()),
        )
        found = distribute.all_sum(
            tf.reduce_sum(tf.reshape(each, [images, -1]), 0)
        )  # by image first: millions, one by one, are too many for float32
        self.seen.assign_add(found / tf.reduce_sum(found))

    def pictures(self, batch):
        """What the encoder sees, and its lightness with the colours that are predicted."""
        images = self.images(batch)
        ab = annealed_mean(self.outputs(batch, images, False)["logits"])
        ab = tf.image.resize(ab, images.shape[1:3])  # [B, S, S, 2]
        return {
            "lightness": lightness(images),
            "colourised": rgb_of(tf.concat([lab_of(images)[..., :1], ab], -1)),
        }


def lab_of(images):
    """sRGB [..., 3] in [0, 1] -> Lab [..., 3] of the same dtype (IEC 61966-2-1, CIE 15)."""
    linear = tf.where(images <= 0.04045, images / 12.92, ((images + 0.055) / 1.055) ** 2.4)
    xyz = tf.linalg.matvec(tf.constant(XYZ, images.dtype), linear)
    x, y, z = tf.unstack(
        tf.where(xyz > BEND**3, tf.maximum(xyz, BEND**3) ** (1 / 3), xyz / (3 * BEND**2) + 4 / 29),
        axis=-1,
    )
    return tf.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def rgb_of(lab):
    """The inverse of `lab_of`; what sRGB does not have is clipped to [0, 1]."""
    y = (lab[..., 0] + 16) / 116
    f = tf.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], -1)
    xyz = tf.where(f > BEND, f**3, 3 * BEND**2 * (f - 4 / 29))
    linear = tf.clip_by_value(
        tf.linalg.matvec(tf.constant(np.linalg.inv(XYZ), lab.dtype), xyz), 0.0, 1.0
    )
    return tf.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def lightness(images):
    """sRGB [B, S, S, 3] -> L / 100 in [0, 1] in all three channels: the encoder has three, since later it is fed colours."""
    return tf.repeat(lab_of(images)[..., :1] / 100, 3, axis=-1)


def shrink(images, side):
    """[B, S, S, C] -> [B, side, side, C]: means over areas, S / side pixels wide. As two products: not every device has a kernel for it."""
    size = images.shape[1]
    ends, pixels = np.arange(side + 1)[:, None] * (size / side), np.arange(size)
    overlap = np.minimum(ends[1:], pixels + 1) - np.maximum(ends[:-1], pixels)
    share = tf.constant(np.maximum(overlap, 0) * (side / size), images.dtype)  # [side, S]
    return tf.einsum("ij,bjkc,lk->bilc", share, images, share)


@functools.cache
def bins():
    """The centres of the bins, float32 [Q, 2]: the multiples of 10 in ab that are nearest to some colour of sRGB.

    Q is 261: of all 2^24 colours, and as well of those taken here, every third level on the surface of the cube, since whatever ab
    has some lightness brings to the surface. The paper's 313 come from a list which it does not derive. 8-bit sRGB hits no more than
    261 cells of this grid, so that list has others beside them; nothing is lost without bins that no image has.
    """
    level = np.arange(0, 256, 3) / 255
    square = np.stack(np.meshgrid(level, level), -1).reshape(-1, 2)
    surface = np.concatenate(
        [np.insert(square, channel, end, axis=1) for channel in range(3) for end in (0, 1)]
    )
    with tf.init_scope(), tf.device("CPU"):
        cells = np.rint(lab_of(tf.constant(surface))[:, 1:].numpy() / GRID).astype(int)
    hit = np.zeros([32, 32], bool)
    hit[tuple(cells.T + 16)] = True
    return ((np.argwhere(hit) - 16) * GRID).astype(np.float32)


@functools.cache
def smoothing():
    """Gaussians between the bins, float32 [Q, Q]: what [q, r] of the colours in r goes to q. Each column sums to 1, none is lost at the border."""
    distances = np.sum(np.square(bins()[:, None] - bins()), -1, dtype=np.float64)
    kernel = np.exp(-distances / (2 * SIGMA**2))
    return (kernel / kernel.sum(0)).astype(np.float32)


def soft_encoding(ab):
    """H^-1 of sec. 2.1: a colour as a distribution over the bins next to it.

    Args:
        ab: float32 [N, 2].

    Returns:
        (bins int32 [N, 5], the nearest first; their shares float32 [N, 5], which sum to 1).
    """
    centres = tf.constant(bins())
    score = 2 * tf.matmul(ab, centres, transpose_b=True) - tf.reduce_sum(
        tf.square(centres), -1
    )  # [N, Q], |ab|^2 less the squared distance
    near = tf.math.top_k(score, NEIGHBORS).indices
    distances = tf.reduce_sum(
        tf.square(ab[:, None] - tf.gather(centres, near)), -1
    )  # not from the score: it has lost digits
    return near, tf.nn.softmax(-distances / (2 * SIGMA**2))


def rebalancing(distribution):
    """Eq. 4: the weight of each bin [Q], whose mean over the smoothed distribution is 1. distribution: float32 [Q], sums to 1."""
    smoothed = tf.linalg.matvec(tf.constant(smoothing()), distribution)
    weights = 1 / ((1 - UNIFORM) * smoothed + UNIFORM / len(bins()))
    return weights / tf.reduce_sum(smoothed * weights)


def cross_entropy(shares, logs):
    """-sum_q Z_q log Z^_q [N] over the bins where Z is not 0. shares: of `soft_encoding`. logs: log Z^ of the same bins, [N, 5]."""
    return -tf.reduce_sum(shares * logs, -1)


def annealed_mean(logits, temperature=TEMPERATURE):
    """Eq. 5: the colours ab [..., 2] of distributions over the bins: between the mean (temperature 1) and the mode (0). logits: [..., Q]."""
    return tf.tensordot(tf.nn.softmax(logits / temperature), tf.constant(bins()), 1)
