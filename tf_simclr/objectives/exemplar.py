"""Exemplar CNNs (Dosovitskiy et al. 2016, "Discriminative Unsupervised Feature Learning with Exemplar Convolutional Neural Networks"; first 2014)."""

import keras
import tensorflow as tf

from tf_simclr.data import pipeline, seed_patches
from tf_simclr.objectives.pretext import Pretext, guess


class SeedClasses(keras.layers.Layer):
    """The output layer: features [B, C] -> logits float32 [B, K] of the classes, of which there is one an image. All are as frequent, so there is no bias."""

    def __init__(self, num_classes, num_sampled, seed, name="seed_classes", **kwargs):
        super().__init__(name=name, dtype="float32", **kwargs)
        self.num_classes, self.num_sampled, self.seed = num_classes, num_sampled, seed

    def build(self, shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.num_classes, shape[-1]),
            initializer=keras.initializers.RandomNormal(stddev=0.01),
        )
        if self.num_sampled:
            self.draws = self.add_weight(
                name="draws", shape=(), initializer="zeros", dtype="int64", trainable=False
            )

    def next_sample(self):
        """From here on other classes are drawn."""
        if self.num_sampled:
            self.draws.assign_add(tf.constant(1, tf.int64))

    def sample(self):
        """int64 [num_sampled]: uniform draws, the same on all replicas, and for all images of the batch."""
        seed = tf.stack([tf.constant(self.seed, tf.int64), tf.convert_to_tensor(self.draws)])
        return tf.random.stateless_uniform([self.num_sampled], seed, 0, self.num_classes, tf.int64)

    def call(self, features, index):
        """(logits, target [B]): index int64 [B], the images' classes."""
        known = (index >= 0) & (index < self.num_classes)
        index = tf.where(known, index, 0)
        kernel = tf.convert_to_tensor(self.kernel)
        if self.num_sampled:
            logits, target = sampled_logits(features, kernel, index, self.sample())
        else:
            logits, target = tf.matmul(features, kernel, transpose_b=True), index
        # A held-out image has no class. Equal logits are those of who knows nothing: it costs what chance does, and teaches nothing.
        return tf.where(known[:, None], logits, 0.0), tf.where(known, target, logits.shape[-1] - 1)


def sampled_logits(features, kernel, index, classes):
    """The logits of a sampled softmax (Jean et al. 2015, sec. 3): those of `classes`, and the true class last.

    Where the true class is among the drawn ones it is left out. As all are drawn with the same probability, the corrections of
    the logits by its logarithm are equal and fall out of the softmax.

    Args:
        features: float32 [B, C]. kernel: float32 [N, C]. index: int64 [B]. classes: int64 [n].

    Returns:
        (float32 [B, n + 1], the target int64 [B], which is n).
    """
    kernel = (
        1.0 * kernel
    )  # so that its gradient is dense, which a step's buffers and checks need; that of `gather` alone is IndexedSlices
    others = tf.matmul(features, tf.gather(kernel, classes), transpose_b=True)  # [B, n]
    others = tf.where(classes == index[:, None], others.dtype.min, others)
    true = tf.reduce_sum(features * tf.gather(kernel, index), -1, keepdims=True)  # [B, 1]
    return tf.concat([others, true], 1), tf.fill(tf.shape(index), tf.size(classes, tf.int64))


class Exemplar(Pretext):
    """Which image does the distorted patch come from? Every image gives one patch, which is a class of its own.

    A class is learned by seeing it often (the paper's 8,000 about a hundred times, and more of them did not help): `seed_images` of many images are enough.
    """

    needs_index = True

    def __init__(self, settings, num_classes, num_images=0):
        super().__init__(settings, num_classes, num_images)
        self.classes = SeedClasses(
            num_images, settings.pretext.sampled_classes, settings.train.seed
        )

    @classmethod
    def chosen(cls, settings, source):
        count = settings.pretext.seed_images
        return source.in_memory(count, settings.train.seed) if count else source

    def build_heads(self):
        self.classes.build([None, self.encoder.feature_dim])

    def example(self, picture, label, seed, index=0, constant=None):
        """Where the patch is depends on the seed of the training and the image's index alone: it is what the class is."""
        share = self.settings.pretext.seed_patch
        image = tf.cast(picture.whole(), tf.float32) / 255
        place = seed_patches.seed_position(
            image,
            share,
            tf.random.stateless_uniform([], pipeline.fold_in(self.settings.train.seed, index)),
        )
        u = tf.random.stateless_uniform([seed_patches.GEOMETRY + seed_patches.COLOURS], seed)
        patch = seed_patches.resampled(
            image, place, share, u[: seed_patches.GEOMETRY], self.settings.data.image_size
        )
        patch = tf.math.rint(255 * seed_patches.distorted(patch, u[seed_patches.GEOMETRY :]))
        return {
            "image": tf.cast(patch, tf.uint8),
            "index": tf.cast(index, tf.int64),
            "label": label,
        }

    def begin_step(self):
        self.classes.next_sample()

    def outputs(self, batch, images, training):
        """Logits float32 [B, K] of the right class and those it is compared with, and which of them is right."""
        logits, target = self.classes(
            self.encoder(images, training=training)["final_avg_pool"], batch["index"]
        )
        return {"logits": logits, "target": target}

    def loss_of(self, outputs, labels, training):
        """The cross-entropy; chance is that among the classes that the right one is compared with, without those drawn that are itself."""
        logits = outputs["logits"]
        loss, metrics = guess(logits, outputs["target"])
        compared = tf.math.count_nonzero(logits > logits.dtype.min, -1, dtype=tf.float32)
        return loss, {**metrics, "pretext_chance": tf.reduce_mean(tf.math.log(compared))}
