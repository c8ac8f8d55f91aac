"""Context prediction (Doersch, Gupta and Efros 2015, "Unsupervised Visual Representation Learning by Context Prediction")."""

import tensorflow as tf

from tf_simclr.data import augment, patches
from tf_simclr.models.heads import PatchesHead
from tf_simclr.objectives.pretext import Pretext

SHARE = (
    96 / 224
)  # of a patch in image_size; 96 pixels in the paper, whose networks see the patches alone
GAP = 1 / 2  # between patches, in patches (sec. 3.2: 48 pixels)
JITTER = 7 / 96  # how far a patch is moved at most, in patches
NEIGHBORS = [
    (row, column) for row in (0, 1, 2) for column in (0, 1, 2) if (row, column) != (1, 1)
]  # from the top left, row by row


class ContextPrediction(Pretext):
    """Where, of the eight places around the centre patch, is the other patch from?"""

    def __init__(self, settings, num_classes, num_images=0):
        super().__init__(settings, num_classes, num_images)
        options = settings.pretext
        self.size = options.patch_size or round(SHARE * settings.data.image_size)
        self.jitter = round(JITTER * self.size) if options.patch_gaps else 0
        self.pitch = self.size + (round(GAP * self.size) if options.patch_gaps else 0)
        self.head = PatchesHead(
            options.pretext_width, [options.pretext_width] * 2, len(NEIGHBORS), *self.norm_options
        )

    def build_heads(self):
        self.head.build([None, 2, self.encoder.feature_dim])

    def example(self, picture, label, seed, index=0, constant=None):
        crop, place, move, first, second = tf.unstack(
            tf.random.experimental.stateless_split(seed, 5)
        )
        canvas = augment.crop_and_flip(
            picture, [crop], 2 * self.pitch + self.size + 2 * self.jitter, self.settings.augment
        )[0]
        target = tf.random.stateless_uniform([], place, 0, len(NEIGHBORS), tf.int32)
        cells = tf.stack([tf.constant([1, 1]), tf.constant(NEIGHBORS)[target]])  # [2, 2]
        corners = (
            self.jitter
            + self.pitch * cells
            + patches.offsets(move, [2, 2], -self.jitter, self.jitter)
        )
        both = tf.image.convert_image_dtype(patches.cut(canvas, corners, self.size), tf.float32)
        views = [self._guarded(patch, own) for patch, own in zip(tf.unstack(both), (first, second))]
        return {"views": tf.stack(views), "target": target, "label": label}

    def _guarded(self, patch, seed):
        """A patch float32 [s, s, 3] without what would tell where in the image it was (sec. 3.1 and 3.2)."""
        options, (coarse, colours) = (
            self.settings.pretext,
            tf.unstack(tf.random.experimental.stateless_split(seed, 2)),
        )
        if options.pixelate_patches:
            patch = patches.pixelated(patch, coarse)
        if options.chromatic_guard == "drop":
            return patches.drop_colours(patch, colours)
        return patches.project_colours(patch) if options.chromatic_guard == "project" else patch

    def outputs(self, batch, images, training):
        """Logits float32 [B, 8]."""
        features = self.encoder(images, training=training)["final_avg_pool"]
        return {
            "logits": self.head(
                tf.reshape(features, [-1, 2, features.shape[-1]]), training=training
            )
        }
