"""Context encoder (Pathak et al. 2016, "Context Encoders: Feature Learning by Inpainting")."""

import functools

import numpy as np
import tensorflow as tf

from tf_simclr.data import color
from tf_simclr.models.decoder import Decoder
from tf_simclr.models.inpainting import ChannelwiseDense, Discriminator
from tf_simclr.models.layers import BatchNorm, relu
from tf_simclr.models.resnet import ConvNorm
from tf_simclr.objectives.pretext import Pretext

FILL = (123 / 255, 117 / 255, 104 / 255)  # what removed pixels become: ImageNet's mean colour
OVERLAP, OVERLAP_WEIGHT = (
    7 / 64,
    10.0,
)  # share of the predicted square's side that is left visible along each edge, and what its pixels weigh
BLOCKS, BLOCK_SIDES, MOST_REMOVED = (
    10,
    (1 / 8, 1 / 4),
    1 / 4,
)  # how many at most, least and greatest share of the image's side, share of the image


class ContextEncoder(Pretext):
    """What was in the part of the image that has been removed?

    It answers for a square, the predicted region, which is the central one or the whole image. No connection leads around
    the encoder. With `adversarial_weight` w the loss is (1 - w) L_rec + w L_adv (eq. 3), in which the discriminator ascends
    L_adv by itself: it descends on its cross-entropy, which is -L_adv, and a reversed gradient, times w, goes on to the decoder.
    """

    def __init__(self, settings, num_classes, num_images=0):
        super().__init__(settings, num_classes, num_images)
        options, size = settings.pretext, settings.data.image_size
        self.begin, self.side, self.overlap = (
            centre(size, options.region_overlap)
            if options.removed_region == "centre"
            else (0, size, 0)
        )
        self.channelwise = ChannelwiseDense(name="channelwise")
        self.across = ConvNorm(
            options.decoder_width,
            1,
            functools.partial(BatchNorm, *self.norm_options),
            relu=False,
            name="across_channels",
        )
        self.decoder = Decoder(options.decoder_width, self.side, 3, *self.norm_options, fine=True)
        self.discriminator = (
            Discriminator(*self.norm_options) if options.adversarial_weight else None
        )

    def build_heads(self):
        size = self.settings.data.image_size
        predicted = self.predict(tf.zeros([1, size, size, 3]))
        if self.discriminator is not None:
            self.discriminator(predicted)

    def apart(self):
        return self.discriminator.trainable_variables if self.discriminator is not None else []

    def example(self, picture, label, seed, index=0, constant=None):
        """With random blocks `removed`, bool [S, S]."""
        geometry, places = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        example = super().example(picture, label, geometry)
        blocks = self.settings.pretext.removed_region == "blocks"
        return (
            {**example, "removed": random_blocks(self.settings.data.image_size, places)}
            if blocks
            else example
        )

    def removed(self, batch):
        """M of eq. 1, bool [B or 1, S, S, 1]: what the encoder does not see."""
        if "removed" in batch:
            return batch["removed"][..., None]
        inside = np.arange(self.settings.data.image_size) - self.begin
        inside = (inside >= self.overlap) & (inside < self.side - self.overlap)
        return tf.constant((inside[:, None] & inside)[None, :, :, None])

    def predicted_region(self, x):
        """What is in the predicted region of x [B, S, S, C]: [B, R, R, C]."""
        return x[:, self.begin : self.begin + self.side, self.begin : self.begin + self.side]

    def predict(self, seen, training=False):
        """F of eq. 1: images [B, S, S, 3] without what is removed -> float32 [B, R, R, 3]; in training not bounded by [0, 1]."""
        x = relu(self.across(self.channelwise(self.last_map(seen, training)), training=training))
        return FILL + self.decoder(x, training=training)

    def outputs(self, batch, images, training):
        """`predicted`; with the adversary `real` and `drawn`, the logits [B] that the truth and all of the prediction are given (below eq. 2)."""
        removed = self.removed(batch)
        predicted = self.predict(hide(images, removed), training)
        if self.discriminator is None:
            return {"predicted": predicted}
        pictures = (
            self.predicted_region(images),
            reverse_gradient(predicted, self.settings.pretext.adversarial_weight),
        )
        real, drawn = (self.discriminator(picture, training=training) for picture in pictures)
        return {"predicted": predicted, "real": real, "drawn": drawn}

    def targets(self, batch, images, training):
        """`true` [B, R, R, 3]; `weights` [B or 1, R, R, 1] of its pixels; `mean` [B, 1, 1, 3], the colour of what is visible."""
        removed = self.removed(batch)
        weights = tf.where(
            self.predicted_region(removed), 1.0, OVERLAP_WEIGHT if self.overlap else 0.0
        )
        visible = tf.cast(~removed, tf.float32)
        mean = tf.reduce_sum(images * visible, [1, 2], keepdims=True) / tf.reduce_sum(
            visible, [1, 2], keepdims=True
        )
        return {"true": self.predicted_region(images), "weights": weights, "mean": mean}

    def loss_of(self, outputs, labels, training):
        """Eq. 3. `pretext_chance` is L_rec of a region in the mean colour of what is visible of its image."""
        true, weights, share = (
            outputs["true"],
            outputs["weights"],
            self.settings.pretext.adversarial_weight,
        )
        loss = reconstruction(outputs["predicted"], true, weights)
        metrics = {
            "pretext_loss": loss,
            "pretext_chance": reconstruction(outputs["mean"], true, weights),
        }
        if self.discriminator is None:
            return loss, metrics
        adversarial, accuracy = told_apart(outputs["real"], outputs["drawn"])
        return (1 - share) * loss + adversarial, {
            **metrics,
            "adversarial_loss": adversarial,
            "discriminator_acc": accuracy,
        }

    def pictures(self, batch):
        """What the encoder sees, and the same with the prediction in the place of what is removed."""
        removed, images = self.removed(batch), self.images(batch)
        seen, after = hide(images, removed), images.shape[1] - self.begin - self.side
        predicted = tf.pad(
            self.predict(seen), [[0, 0], [self.begin, after], [self.begin, after], [0, 0]]
        )
        return {
            "removed": seen,
            "inpainted": tf.clip_by_value(tf.where(removed, predicted, seen), 0.0, 1.0),
        }


def centre(size, overlap):
    """(first row and column, side, what of it is visible along each edge) of the central square of half the side (fig. 3a; overlap: sec. 5.1)."""
    side = size // 2
    return (size - side) // 2, side, max(1, round(OVERLAP * side)) if overlap else 0


def random_blocks(size, seed):
    """Squares that may overlap (sec. 3.3, fig. 3b), as many of 10 as cover up to a quarter of the image: bool [size, size]. seed: integer [2]."""
    u = tf.random.stateless_uniform([BLOCKS, 3], seed)
    sides = tf.math.rint(size * color.between(u[:, :1], *BLOCK_SIDES))  # [10, 1]
    begins = tf.floor(u[:, 1:] * (size - sides + 1))  # [10, 2]
    place = tf.range(size, dtype=tf.float32)
    rows, columns = tf.unstack(
        (place >= begins[..., None]) & (place < (begins + sides)[..., None]), axis=1
    )  # each [10, size]
    first = tf.where(
        rows[:, :, None] & columns[:, None, :], tf.range(BLOCKS)[:, None, None], BLOCKS
    )
    first = tf.reduce_min(first, 0)  # [size, size], number of the first block that covers a pixel
    covered = tf.cumsum(
        tf.math.bincount(first, minlength=BLOCKS, maxlength=BLOCKS)
    )  # [10], pixels, by the first block, the first two, ...
    return first < tf.reduce_sum(tf.cast(covered <= int(MOST_REMOVED * size * size), tf.int32))


def hide(images, removed):
    """(1 - M) ⊙ x of eq. 1, with a colour where there is nothing. images: [B, S, S, 3]. removed: bool [B or 1, S, S, 1]."""
    return tf.where(removed, FILL, images)


def reconstruction(predicted, true, weights):
    """L_rec (eq. 1): the weighted mean of the squared differences over the pixels and colours of an image, and its mean over the images.

    Each image counts the same however much of it is removed, so the losses of parts of a batch average to that of the batch.

    Args:
        predicted, true: float32, [B, R, R, 3] or what broadcasts to it. weights: [B or 1, R, R, 1].
    """
    squares = tf.reduce_mean(tf.square(predicted - true), -1, keepdims=True)  # [B, R, R, 1]
    return tf.reduce_mean(
        tf.reduce_sum(squares * weights, [1, 2, 3]) / tf.reduce_sum(weights, [1, 2, 3])
    )


def told_apart(real, drawn):
    """(-L_adv of eq. 2 for a D with these logits [B], the share of pictures that it is right about)."""
    loss = tf.reduce_mean(tf.nn.softplus(-real) + tf.nn.softplus(drawn))
    return loss, tf.reduce_mean(tf.cast(tf.concat([real > 0, drawn <= 0], 0), tf.float32))


def reverse_gradient(x, weight):
    """x, whose gradient comes back times -weight."""
    return tf.custom_gradient(lambda x: (tf.identity(x), lambda upstream: -weight * upstream))(x)
