"""Context prediction (Doersch, Gupta and Efros 2015).

"Unsupervised Visual Representation Learning by Context Prediction".
"""

import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.data import patches
from tf_simclr.models.heads import PatchesHead
from tf_simclr.objectives.pretext import Pretext

# Side of a patch to that of the image; 96 pixels in the paper, whose networks see patches alone.
PATCH_SHARE = 96 / 224
GAP = 1 / 2  # between patches, in patches (section 3.2: 48 pixels)
JITTER = 7 / 96  # how far a patch is moved at most, in patches
CENTER = (1, 1)
# Row and column of the neighbors in a grid of 3 x 3 patches, from the top left, row by row.
NEIGHBORS = [(row, column) for row in range(3) for column in range(3) if (row, column) != CENTER]


class ContextPrediction(Pretext):
    """Where, of the eight positions around the center patch, is the other patch from?

    Attributes:
        size: of a patch in pixels.
        jitter: how many pixels a patch is moved at most.
        pitch: from one patch to the next in pixels.
    """

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        options = settings.pretext
        self.size = options.patch_size or round(PATCH_SHARE * settings.data.image_size)
        self.jitter = 0
        self.pitch = self.size
        if options.patch_gaps:
            self.jitter = round(JITTER * self.size)
            self.pitch += round(GAP * self.size)
        width = options.pretext_width
        self.head = PatchesHead(width, [width] * 2, len(NEIGHBORS), *self.norm_options)

    def build_heads(self):
        self.head.build([None, 2, self.encoder.feature_dim])

    def example(self, picture, label, seed, index=0, constant=None):
        """Two patches.

        Returns:
            {"views": float32 [2, s, s, 3], "target": int32, the number of the neighbor, "label"}.
        """
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 5))
        crop_seed, target_seed, move_seed, *guard_seeds = seeds
        canvas_size = 2 * self.pitch + self.size + 2 * self.jitter
        canvas = self.random_crop(picture, crop_seed, canvas_size)
        target = tf.random.stateless_uniform([], target_seed, 0, len(NEIGHBORS), tf.int32)
        cells = tf.stack([tf.constant(CENTER), tf.constant(NEIGHBORS)[target]])  # [2, 2]
        moves = patches.offsets(move_seed, [2, 2], -self.jitter, self.jitter)
        corners = self.jitter + self.pitch * cells + moves
        cut = patches.cut(canvas, corners, self.size)  # [2, s, s, 3]
        cut = tf.unstack(tf.image.convert_image_dtype(cut, tf.float32))
        views = [self._guarded(patch, own_seed) for patch, own_seed in zip(cut, guard_seeds)]
        return {"views": tf.stack(views), "target": target, "label": label}

    def _guarded(self, patch, seed):
        """A patch float32 [s, s, 3] without what would tell its position (section 3.1, 3.2)."""
        options = self.settings.pretext
        coarse_seed, color_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        if options.pixelate_patches:
            patch = patches.pixelated(patch, coarse_seed)
        if options.chromatic_guard == "drop":
            return patches.drop_colors(patch, color_seed)
        if options.chromatic_guard == "project":
            return patches.project_colors(patch)
        return patch

    @property
    def encoder_input(self):
        return 2, self.size

    def outputs(self, batch, images, training):
        """{"logits": float32 [B, 8]}."""
        features = self.encoder(images, training=training)["final_avg_pool"]  # [2B, C]
        pairs = tf.reshape(features, [-1, 2, features.shape[-1]])
        return {"logits": self.head(pairs, training=training)}
