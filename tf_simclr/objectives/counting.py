"""Counting (Noroozi, Pirsiavash and Favaro 2017, "Representation Learning by Learning to Count")."""

import math

import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.data import augment, patches
from tf_simclr.models.heads import TaskHead
from tf_simclr.models.layers import relu
from tf_simclr.objectives.pretext import Pretext

COUNTS = 1000  # outputs of phi (sec. 4)
TILES = 4  # T_j, the quadrants
MEAN = (1 / 3, 1 / 3, 1 / 3)  # of the channels, which makes an image grey
METHODS = (
    "area",
    "bilinear",
    "bicubic",
    "lanczos3",
)  # of the downsampling D; the first one if none is drawn
COLLAPSED = 0.01  # share of the root of the margin below which the counts are nothing


class Counting(Pretext):
    """What is counted in the whole image is the sum of what is counted in its quadrants, and another image's count is not.

    The network sees images of half the size: an image downsampled by 2, and its four tiles.
    """

    couples_examples = True

    def __init__(self, settings, num_classes, num_images=0):
        super().__init__(settings, num_classes, num_images)
        self.tile = settings.data.image_size // 2
        width = settings.pretext.pretext_width
        self.head = TaskHead([width] * 2, COUNTS, *self.norm_options)
        # Answers start with a deviation of 0.01 sqrt(width / 2). Scaled by it, the counts start within the margin at any width: from far beyond it, as with a
        # width of 4096 unscaled, they fell to zero within a few steps and stayed there.
        self.scale = 1 / (0.01 * math.sqrt(width / 2 * COUNTS))
        self.downsampling = downsampling_matrices(self.tile)

    def build_heads(self):
        self.head.build([None, self.encoder.feature_dim])

    def example(self, picture, label, seed, index=0, constant=None):
        """Besides the image "method", the number of the one of METHODS that it is downsampled by."""
        options, (geometry, grey, method) = (
            self.settings.pretext,
            tf.unstack(tf.random.experimental.stateless_split(seed, 3)),
        )
        image = augment.crop_and_flip(picture, [geometry], 2 * self.tile, self.settings.augment)[0]
        method = tf.random.stateless_uniform(
            [], method, 0, len(METHODS) if options.random_downsampling else 1, tf.int32
        )
        image, _ = patches.sometimes_grey(image, grey, options.counting_grey_probability, MEAN)
        return {"image": image, "method": method, "label": label}

    def images(self, batch):
        """Of an image the downsampled one, then its tiles from left to right and top to bottom, [5B, S//2, S//2, 3]."""
        images = super().images(batch)  # [B, 2T, 2T, 3]
        whole = downsampled(images, tf.gather(self.downsampling, batch["method"]))
        return tf.reshape(
            tf.concat([whole[:, None], tiles(images)], 1), [-1, self.tile, self.tile, 3]
        )

    def outputs(self, batch, images, training):
        """ "counts" float32 [B, 5, 1000]: phi of the downsampled image and of each of its tiles, at least 0."""
        features = self.encoder(images, training=training)["final_avg_pool"]
        counts = relu(self.scale * self.head(features, training=training))
        return {"counts": tf.reshape(counts, [-1, 1 + TILES, COUNTS])}

    def output_shapes(self):
        return {"counts": [1 + TILES, COUNTS]}

    def loss_of(self, outputs, labels, training):
        """The other image y of each is the next one of the global batch."""
        counts, margin = outputs["counts"], self.settings.pretext.counting_margin
        whole = counts[:, 0]  # [B, 1000]
        everyone = distribute.all_gather(whole)  # [N, 1000]
        batch = whole.shape[0]
        mine = distribute.replica_id() * batch + tf.range(batch)
        other = tf.gather(everyone, (mine + 1) % everyone.shape[0])
        loss = counting_loss(whole, tf.reduce_sum(counts[:, 1:], 1), other, margin)
        return loss, {
            "pretext_loss": loss,
            "pretext_chance": tf.constant(margin),
            "counting_scale": tf.reduce_mean(tf.norm(whole, axis=-1)),
        }

    def warning(self, metrics):
        if metrics["counting_scale"] < COLLAPSED * math.sqrt(self.settings.pretext.counting_margin):
            return f"the counts have collapsed: their mean length is {metrics['counting_scale']:.2g}; try a smaller learning rate or more warm-up"
        return None


def counting_loss(whole, parts, other, margin):
    """Eq. 4, the mean over the batch: a count of zero everywhere costs `margin`.

    Args:
        whole: phi(D.x) [B, d]. parts: the sum of phi(T_j.x) [B, d]. other: phi(D.y) [B, d].
    """
    same = tf.reduce_sum(tf.math.squared_difference(whole, parts), -1)
    different = tf.reduce_sum(tf.math.squared_difference(other, parts), -1)
    return tf.reduce_mean(same + tf.maximum(margin - different, 0.0))


def tiles(images):
    """The quadrants of [B, 2T, 2T, 3]: [B, 4, T, T, 3]."""
    return tf.stack([tile for half in tf.split(images, 2, 1) for tile in tf.split(half, 2, 2)], 1)


def downsampling_matrices(size):
    """float32 [M, size, 2 size]: what each of METHODS, with antialiasing, does to a column of pixels.

    Products do on every device, and compiled by XLA, what the operations for resizing do not.
    """
    columns = tf.eye(2 * size)[None, :, :, None]
    return tf.concat(
        [
            tf.image.resize(columns, [size, 2 * size], method, antialias=True)[..., 0]
            for method in METHODS
        ],
        0,
    ).numpy()


def downsampled(images, matrices):
    """Images [B, 2T, 2T, 3] by matrices [B, T, 2T], one an image: [B, T, T, 3] in [0, 1]."""
    return tf.clip_by_value(tf.einsum("bih,bhwc,bjw->bijc", matrices, images, matrices), 0.0, 1.0)
