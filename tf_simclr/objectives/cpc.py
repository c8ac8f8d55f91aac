"""CPC v2: Hénaff et al. 2020.

"Data-Efficient Image Recognition with Contrastive Predictive Coding".
"""

import math

import keras
import numpy as np
import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.config import Config
from tf_simclr.data import color, patches
from tf_simclr.models.context_network import ContextNetwork
from tf_simclr.objectives import collapse
from tf_simclr.objectives.info_nce import info_nce
from tf_simclr.objectives.view_task import ViewTask

GRID = 6  # patches a side; 80 pixels wide and 36 apart they cover 260 pixels (appendix)
PATCH_SHARE = 80 / 260  # side of a patch to that of the image
STRIDE_SHARE = 36 / 80  # from one patch to the next, in patches
# How many rows below its context a patch is predicted: those that share no pixel with it. The
# pseudo-code in the appendix ignores the two before.
OFFSETS = (3, 4, 5)
PREDICTION_SCALE = 0.1  # of the pseudo-code
WIDTH_DIVISOR = 16  # from the width of other heads to the 256 channels of the pseudo-code


class CPC(ViewTask):
    """Which of all patches of the batch is so many rows below, by this patch and those above it?

    The same is asked to the top, to the right and to the left.

    Attributes:
        size: of a patch in pixels.
        stride: from one patch to the next in pixels.
        context: `ContextNetwork`.
        predicted: int32 [P], which of the patches of an image each prediction is of.
    """

    couples_examples = True
    num_views = GRID**2
    published_dim = 64

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        share = round(PATCH_SHARE * settings.data.image_size)
        self.size = settings.pretext.patch_size or max(share, 1)
        self.stride = max(round(STRIDE_SHARE * self.size), 1)
        width = max(settings.pretext.pretext_width // WIDTH_DIVISOR, 1)
        self.context = ContextNetwork(width, len(OFFSETS), self.embedding_dim)
        self.predicted = predicted_patches()

    def make_head(self, name):
        """One layer; it starts as those of the pseudo-code do."""
        return keras.layers.Dense(
            self.embedding_dim, kernel_initializer="lecun_normal", name=name, dtype="float32"
        )

    def build_heads(self):
        super().build_heads()
        self.context(oriented(tf.zeros([1, GRID, GRID, self.encoder.feature_dim])))

    def example(self, picture, label, seed, index=0, constant=None):
        """The patches of a crop, row by row, each with colors of its own.

        Returns:
            {"views": uint8 [36, s, s, 3], "label"}; where colors are distorted also "numbers"
            float32 [36, 12].
        """
        crop_seed, color_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        canvas = self.random_crop(picture, crop_seed, self.stride * (GRID - 1) + self.size)
        cells = np.indices([GRID, GRID]).reshape(2, -1).T
        views = patches.cut(canvas, tf.constant(self.stride * cells, tf.int32), self.size)
        example = {"views": views, "label": label}
        if color.is_active(self.settings.augment):
            shape = [self.num_views, color.NUM_NUMBERS]
            example["numbers"] = tf.random.stateless_uniform(shape, color_seed)
        return example

    @property
    def encoder_input(self):
        return self.num_views, self.size

    def outputs(self, batch, images, training):
        """{"embeddings": of the patches, float32 [B, 36, d], "predictions": float32 [B, P, d]}."""
        features = self.encoder(images, training=training)["final_avg_pool"]  # [36B, C]
        grid = tf.reshape(features, [-1, GRID, GRID, features.shape[-1]])
        of_cells = self.context(oriented(grid))  # [B, D, n, n, K, d]
        predictions = []
        for number, offset in enumerate(OFFSETS):
            of_offset = of_cells[:, :, :-offset, :, number]
            predictions.append(tf.reshape(of_offset, [grid.shape[0], -1, self.embedding_dim]))
        embeddings = self.projector(features, training=training)
        return {
            "embeddings": self.by_image(embeddings),
            "predictions": tf.concat(predictions, 1),
        }

    def output_shapes(self):
        return {
            "embeddings": [self.num_views, self.embedding_dim],
            "predictions": [len(self.predicted), self.embedding_dim],
        }

    def loss_of(self, outputs, labels, training):
        """Equation 2 as a mean; the candidates are all patches of the global batch."""
        predictions, embeddings = outputs["predictions"], outputs["embeddings"]
        batch = embeddings.shape[0]
        image = distribute.replica_id() * batch + tf.range(batch)
        positives = image[:, None] * self.num_views + self.predicted  # [B, P]
        candidates = self._flat(distribute.all_gather(embeddings))  # [36N, d]
        loss, accuracy = info_nce(
            PREDICTION_SCALE * self._flat(predictions), candidates, tf.reshape(positives, [-1])
        )
        return loss, {
            "pretext_loss": loss,
            "pretext_acc": accuracy,
            "pretext_chance": tf.constant(math.log(candidates.shape[0])),
            **collapse.gauge(self._flat(embeddings)),
        }

    def _flat(self, embeddings):
        return tf.reshape(embeddings, [-1, self.embedding_dim])

    def pictures(self, batch):
        """The patches side by side."""
        size = self.size
        views = tf.reshape(self.images(batch), [-1, GRID, GRID, size, size, 3])
        by_row = tf.transpose(views, [0, 1, 3, 2, 4, 5])
        return {"patches": tf.reshape(by_row, [-1, GRID * size, GRID * size, 3])}


def oriented(grid: tf.Tensor) -> tf.Tensor:
    """A grid turned in such ways that what is to be predicted is always below.

    Args:
        grid: [B, n, n, ...].

    Returns:
        [B, 4, n, n, ...]: for predictions to the bottom, the top, the right and the left.
    """
    turned = tf.experimental.numpy.swapaxes(grid, 1, 2)
    return tf.stack([grid, grid[:, ::-1], turned, turned[:, ::-1]], 1)


def predicted_patches() -> np.ndarray:
    """Which patch of an image each prediction is of.

    Returns:
        int32 [P], by offset, direction, row and column of the context.
    """
    numbers = oriented(tf.reshape(tf.range(GRID**2), [1, GRID, GRID]))[0].numpy()
    return np.concatenate([numbers[:, offset:].reshape(-1) for offset in OFFSETS])
