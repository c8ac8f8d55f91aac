"""Context encoder (Pathak et al. 2016, "Context Encoders: Feature Learning by Inpainting")."""

import functools

import numpy as np
import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.data import color
from tf_simclr.models.decoder import Decoder
from tf_simclr.models.inpainting import ChannelwiseDense, Discriminator
from tf_simclr.models.layers import BatchNorm, relu
from tf_simclr.models.residual_blocks import ConvNorm
from tf_simclr.objectives.pretext import Pretext

FILL = (123 / 255, 117 / 255, 104 / 255)  # what removed pixels become: ImageNet's mean color
# Share of the predicted square's side that is left visible along each edge, and what its pixels
# weigh.
OVERLAP = 7 / 64
OVERLAP_WEIGHT = 10.0
MAX_BLOCKS = 10
BLOCK_SIDES = (1 / 8, 1 / 4)  # least and greatest share of the image's side
MAX_REMOVED = 1 / 4  # share of the image


class ContextEncoder(Pretext):
    """What was in the part of the image that has been removed?

    It answers for a square, the predicted region, which is the central one or the whole image. No
    connection leads around the encoder. With `adversarial_weight` w the loss is
    (1 - w) L_rec + w L_adv (equation 3), in which the discriminator ascends L_adv by itself: it
    descends on its cross-entropy, which is -L_adv, and a reversed gradient, times w, goes on to the
    decoder.

    Attributes:
        begin: first row and column of the predicted region.
        side: of the predicted region in pixels.
        overlap: pixels of it along each edge that are visible.
    """

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        options = settings.pretext
        size = settings.data.image_size
        self.begin, self.side, self.overlap = 0, size, 0
        if options.removed_region == "centre":
            self.begin, self.side, self.overlap = central_square(size, options.region_overlap)
        width = options.decoder_width
        norm = functools.partial(BatchNorm, *self.norm_options)
        self.channelwise = ChannelwiseDense(name="channelwise")
        self.across = ConvNorm(width, 1, norm, relu=False, name="across_channels")
        self.decoder = Decoder(width, self.side, 3, *self.norm_options, fine=True)
        self.discriminator = None
        if options.adversarial_weight:
            self.discriminator = Discriminator(*self.norm_options)

    def build_heads(self):
        size = self.settings.data.image_size
        predicted = self.predict(tf.zeros([1, size, size, 3]))
        if self.discriminator is not None:
            self.discriminator(predicted)

    def separately_optimized(self):
        if self.discriminator is None:
            return []
        return self.discriminator.trainable_variables

    def example(self, picture, label, seed, index=0, constant=None):
        """With random blocks also "removed", bool [S, S]."""
        geometry, blocks = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        example = super().example(picture, label, geometry)
        if self.settings.pretext.removed_region == "blocks":
            example["removed"] = random_blocks(self.settings.data.image_size, blocks)
        return example

    def removed(self, batch: dict) -> tf.Tensor:
        """M of equation 1, bool [B or 1, S, S, 1]: what the encoder does not see."""
        if "removed" in batch:
            return batch["removed"][..., None]
        position = np.arange(self.settings.data.image_size) - self.begin
        is_inside = (position >= self.overlap) & (position < self.side - self.overlap)  # [S]
        return tf.constant((is_inside[:, None] & is_inside)[None, :, :, None])

    def predicted_region(self, x: tf.Tensor) -> tf.Tensor:
        """What is in the predicted region of x [B, S, S, C]: [B, R, R, C]."""
        inside = slice(self.begin, self.begin + self.side)
        return x[:, inside, inside]

    def predict(self, visible: tf.Tensor, training: bool = False) -> tf.Tensor:
        """F of equation 1.

        Args:
            visible: images [B, S, S, 3] without what is removed.
            training: whether batch norm uses the batch's statistics.

        Returns:
            float32 [B, R, R, 3]; in training not bounded by [0, 1].
        """
        x = self.channelwise(self.last_map(visible, training))
        x = relu(self.across(x, training=training))
        return FILL + self.decoder(x, training=training)

    def outputs(self, batch, images, training):
        """The prediction, and what the adversary says of it and of the truth (below equation 2).

        Returns:
            {"predicted": [B, R, R, 3]}, with the adversary also the logits "real" and "drawn" [B].
        """
        predicted = self.predict(hide(images, self.removed(batch)), training)
        if self.discriminator is None:
            return {"predicted": predicted}
        weight = self.settings.pretext.adversarial_weight
        truth = self.predicted_region(images)
        real = self.discriminator(truth, training=training)
        drawn = self.discriminator(reverse_gradient(predicted, weight), training=training)
        return {"predicted": predicted, "real": real, "drawn": drawn}

    def targets(self, batch, images, training):
        """What the prediction is compared with.

        Returns:
            {"true": [B, R, R, 3], "weights": [B or 1, R, R, 1] of its pixels, "mean":
            [B, 1, 1, 3], the color of what is visible}.
        """
        removed = self.removed(batch)
        visible_weight = OVERLAP_WEIGHT if self.overlap else 0.0
        weights = tf.where(self.predicted_region(removed), 1.0, visible_weight)
        visible = tf.cast(~removed, tf.float32)
        sums = tf.reduce_sum(images * visible, [1, 2], keepdims=True)
        mean = sums / tf.reduce_sum(visible, [1, 2], keepdims=True)
        return {"true": self.predicted_region(images), "weights": weights, "mean": mean}

    def loss_of(self, outputs, labels, training):
        """Equation 3.

        `pretext_chance` is L_rec of a region in the mean color of what is visible of its image.
        """
        true, weights = outputs["true"], outputs["weights"]
        loss = reconstruction(outputs["predicted"], true, weights)
        chance = reconstruction(outputs["mean"], true, weights)
        metrics = {"pretext_loss": loss, "pretext_chance": chance}
        if self.discriminator is None:
            return loss, metrics
        adversarial, accuracy = adversarial_loss(outputs["real"], outputs["drawn"])
        share = self.settings.pretext.adversarial_weight
        metrics |= {"adversarial_loss": adversarial, "discriminator_acc": accuracy}
        return (1 - share) * loss + adversarial, metrics

    def pictures(self, batch):
        """What the encoder sees, and the same with the prediction in place of what is removed."""
        removed = self.removed(batch)
        images = self.images(batch)
        visible = hide(images, removed)
        padding = [self.begin, images.shape[1] - self.begin - self.side]
        predicted = tf.pad(self.predict(visible), [[0, 0], padding, padding, [0, 0]])
        inpainted = tf.clip_by_value(tf.where(removed, predicted, visible), 0.0, 1.0)
        return {"removed": visible, "inpainted": inpainted}


def central_square(size: int, has_overlap: bool) -> tuple[int, int, int]:
    """The central square of half the side (figure 3a; overlap: section 5.1).

    Args:
        size: of the image in pixels.
        has_overlap: whether some of it is visible along each edge.

    Returns:
        (first row and column, side, pixels that are visible along each edge).
    """
    side = size // 2
    overlap = max(1, round(OVERLAP * side)) if has_overlap else 0
    return (size - side) // 2, side, overlap


def random_blocks(size: int, seed: tf.Tensor) -> tf.Tensor:
    """Squares that may overlap, as many of 10 as cover up to a quarter of the image.

    Source: section 3.3, figure 3b.

    Args:
        size: of the image in pixels.
        seed: integer [2].

    Returns:
        bool [size, size].
    """
    u = tf.random.stateless_uniform([MAX_BLOCKS, 3], seed)
    sides = tf.math.rint(size * color.between(u[:, :1], *BLOCK_SIDES))  # [10, 1]
    begins = tf.floor(u[:, 1:] * (size - sides + 1))  # [10, 2]
    position = tf.range(size, dtype=tf.float32)
    is_inside = (position >= begins[..., None]) & (position < (begins + sides)[..., None])
    in_row, in_column = tf.unstack(is_inside, axis=1)  # each [10, size]
    is_covered = in_row[:, :, None] & in_column[:, None, :]  # [10, size, size]
    # The number of the first block that covers a pixel, [size, size].
    numbers = tf.where(is_covered, tf.range(MAX_BLOCKS)[:, None, None], MAX_BLOCKS)
    first = tf.reduce_min(numbers, 0)
    counts = tf.math.bincount(first, minlength=MAX_BLOCKS, maxlength=MAX_BLOCKS)
    num_covered = tf.cumsum(counts)  # [10], pixels, by the first block, the first two, ...
    max_removed = int(MAX_REMOVED * size * size)
    num_blocks = tf.reduce_sum(tf.cast(num_covered <= max_removed, tf.int32))
    return first < num_blocks


def hide(images: tf.Tensor, removed: tf.Tensor) -> tf.Tensor:
    """(1 - M) ⊙ x of equation 1, with a color where there is nothing.

    Args:
        images: [B, S, S, 3].
        removed: bool [B or 1, S, S, 1].
    """
    return tf.where(removed, FILL, images)


def reconstruction(predicted: tf.Tensor, true: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """L_rec (equation 1), the mean over images.

    Of an image it is the weighted mean of the squared differences over pixels and colors: each
    image counts the same however much of it is removed, so the losses of parts of a batch average
    to that of the batch.

    Args:
        predicted: float32 [B, R, R, 3], or what broadcasts to it.
        true: float32 [B, R, R, 3].
        weights: [B or 1, R, R, 1].

    Returns:
        float32 scalar.
    """
    squares = tf.reduce_mean(tf.square(predicted - true), -1, keepdims=True)  # [B, R, R, 1]
    weighted = tf.reduce_sum(squares * weights, [1, 2, 3])
    return tf.reduce_mean(weighted / tf.reduce_sum(weights, [1, 2, 3]))


def adversarial_loss(real: tf.Tensor, drawn: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """-L_adv of equation 2.

    Args:
        real: logits [B] that the discriminator gives to true pictures.
        drawn: logits [B] that it gives to predictions.

    Returns:
        (loss, share of pictures that it is right about).
    """
    loss = tf.reduce_mean(tf.nn.softplus(-real) + tf.nn.softplus(drawn))
    is_right = tf.concat([real > 0, drawn <= 0], 0)
    return loss, tf.reduce_mean(tf.cast(is_right, tf.float32))


def reverse_gradient(x: tf.Tensor, weight: float) -> tf.Tensor:
    """x, whose gradient comes back times -weight."""

    @tf.custom_gradient
    def reversed_identity(x):
        return tf.identity(x), lambda upstream: -weight * upstream

    return reversed_identity(x)
