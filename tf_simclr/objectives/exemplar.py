"""Exemplar CNNs (Dosovitskiy et al. 2016; first 2014).

"Discriminative Unsupervised Feature Learning with Exemplar Convolutional Neural Networks".
"""

import keras
import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.data import pipeline, seed_patches
from tf_simclr.objectives.numbered_images import NumberedImages
from tf_simclr.objectives.pretext import guess


class SeedClasses(keras.layers.Layer):
    """The output layer: features [B, C] -> logits float32 [B, K] of the classes.

    There is a class for each image. All are as frequent, so there is no bias.

    Args:
        num_classes: as many as images.
        num_sampled: classes that are drawn in each step; 0: all are compared.
        seed: of the draws.
    """

    def __init__(
        self, num_classes: int, num_sampled: int, seed: int, name: str = "seed_classes", **kwargs
    ):
        super().__init__(name=name, dtype="float32", **kwargs)
        self.num_classes = num_classes
        self.num_sampled = num_sampled
        self.seed = seed

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

    def sample(self) -> tf.Tensor:
        """Uniform draws, the same on all replicas and for all images: int64 [num_sampled]."""
        seed = tf.stack([tf.constant(self.seed, tf.int64), tf.convert_to_tensor(self.draws)])
        return tf.random.stateless_uniform([self.num_sampled], seed, 0, self.num_classes, tf.int64)

    def call(self, features, index):
        """Logits and which of them is right.

        A held-out image has no class. Its logits are equal: it costs what chance does, and teaches
        nothing.

        Args:
            features: float32 [B, C].
            index: int64 [B], the images' classes.

        Returns:
            (logits float32 [B, K], target int64 [B]).
        """
        is_known = (index >= 0) & (index < self.num_classes)
        index = tf.where(is_known, index, 0)
        kernel = tf.convert_to_tensor(self.kernel)
        if self.num_sampled:
            logits, target = sampled_logits(features, kernel, index, self.sample())
        else:
            logits, target = tf.matmul(features, kernel, transpose_b=True), index
        last = logits.shape[-1] - 1
        return tf.where(is_known[:, None], logits, 0.0), tf.where(is_known, target, last)


def sampled_logits(
    features: tf.Tensor, kernel: tf.Tensor, index: tf.Tensor, classes: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The logits of a sampled softmax (Jean et al. 2015, section 3).

    Where the true class is among the drawn ones it is left out. As all are drawn with the same
    probability, the corrections of the logits by its logarithm are equal and fall out of the
    softmax.

    Args:
        features: float32 [B, C].
        kernel: float32 [N, C].
        index: int64 [B], the true classes.
        classes: int64 [n], drawn.

    Returns:
        (logits float32 [B, n + 1] of `classes` and, last, of the true class; the target int64 [B],
        which is n).
    """
    # A product makes the gradient dense, which a step's buffers and checks need; that of `gather`
    # alone is IndexedSlices.
    kernel = 1.0 * kernel
    others = tf.matmul(features, tf.gather(kernel, classes), transpose_b=True)  # [B, n]
    others = tf.where(classes == index[:, None], others.dtype.min, others)
    true = tf.reduce_sum(features * tf.gather(kernel, index), -1, keepdims=True)  # [B, 1]
    target = tf.fill(tf.shape(index), tf.size(classes, tf.int64))
    return tf.concat([others, true], 1), target


class Exemplar(NumberedImages):
    """Which image does the distorted patch come from?

    Every image gives one patch, which is a class of its own. A class is learned by seeing it often
    (the paper's 8,000 about a hundred times, and more of them did not help): `seed_images` of many
    images are enough.
    """

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        num_sampled = settings.pretext.sampled_classes
        self.classes = SeedClasses(num_images, num_sampled, settings.train.seed)

    def build_heads(self):
        self.classes.build([None, self.encoder.feature_dim])

    def example(self, picture, label, seed, index=0, constant=None):
        """A distorted patch.

        Its position depends on the seed of the training and the image's index alone: it is what the
        class is.

        Returns:
            {"image": uint8 [S, S, 3], "index": int64, "label"}.
        """
        share = self.settings.pretext.seed_patch
        size = self.settings.data.image_size
        image = tf.cast(picture.whole(), tf.float32) / 255
        class_seed = pipeline.fold_in(self.settings.train.seed, index)
        position = seed_patches.seed_position(
            image, share, tf.random.stateless_uniform([], class_seed)
        )
        num_geometry = seed_patches.NUM_GEOMETRY
        u = tf.random.stateless_uniform([num_geometry + seed_patches.NUM_COLORS], seed)
        patch = seed_patches.resampled(image, position, share, u[:num_geometry], size)
        patch = tf.math.rint(255 * seed_patches.distorted(patch, u[num_geometry:]))
        return {
            "image": tf.cast(patch, tf.uint8),
            "index": tf.cast(index, tf.int64),
            "label": label,
        }

    def begin_step(self):
        self.classes.next_sample()

    def outputs(self, batch, images, training):
        """The classes that each image is compared with, and which of them is right.

        Returns:
            {"logits": float32 [B, K], "target": int64 [B]}.
        """
        features = self.encoder(images, training=training)["final_avg_pool"]
        logits, target = self.classes(features, batch["index"])
        return {"logits": logits, "target": target}

    def loss_of(self, outputs, labels, training):
        """The cross-entropy.

        Chance is that among the classes that the right one is compared with, without drawn ones
        that are the right one itself.
        """
        logits = outputs["logits"]
        loss, metrics = guess(logits, outputs["target"])
        is_compared = logits > logits.dtype.min
        num_compared = tf.math.count_nonzero(is_compared, -1, dtype=tf.float32)
        chance = tf.reduce_mean(tf.math.log(num_compared))
        return loss, {**metrics, "pretext_chance": chance}
