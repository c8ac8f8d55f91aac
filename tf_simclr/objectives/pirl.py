"""PIRL: Misra and van der Maaten 2020.

"Self-Supervised Learning of Pretext-Invariant Representations", with jigsaw tiles. What the paper
leaves open is as in the authors' code (pirl_jigsaw_4node_resnet50.yaml of facebookresearch/vissl).
"""

import dataclasses

import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.data import augment, color, patches
from tf_simclr.models.heads import TaskHead
from tf_simclr.objectives import collapse, jigsaw
from tf_simclr.objectives.bank_task import BankTask

TILES_WEIGHT = 0.5  # lambda; that of the image is 1 - lambda
LEAST_AREA = 0.6  # share of the image's area that the tiles are cut from


class PIRL(BankTask):
    """Which image is this, by a view of it and by its tiles in random order?

    Both have the same feature in the memory bank, so the tiles have to be known by what is in them.
    """

    published_negatives = 32000

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        self.size, self.cell = jigsaw.tile_and_cell(settings)
        low, high = settings.augment.crop_area
        canvas_area = (min(max(low, LEAST_AREA), high), high)
        self.canvas_options = dataclasses.replace(settings.augment, crop_area=canvas_area)
        self.tile_head = TaskHead([], self.embedding_dim, name="tile_head")
        self.tiles_head = TaskHead([], self.embedding_dim, name="tiles_head")

    def build_heads(self):
        super().build_heads()
        self.tile_head.build([None, self.encoder.feature_dim])
        self.tiles_head.build([None, jigsaw.NUM_TILES * self.embedding_dim])

    def example(self, picture, label, seed, index=0, constant=None):
        """A view, and the tiles of another crop in random order, each with colors of its own.

        Returns:
            That of `BankTask`, with "tiles" uint8 [9, s, s, 3] and, where colors are distorted,
            "tile_numbers" float32 [9, 12].
        """
        view_seed, *tile_seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 5))
        example = super().example(picture, label, view_seed, index)
        crop_seed, corner_seed, order_seed, color_seed = tile_seeds
        corners = jigsaw.tile_corners(corner_seed, self.size, self.cell)
        corners = tf.random.experimental.stateless_shuffle(corners, order_seed)
        tiles = patches.cut(self._canvas(picture, crop_seed), corners, self.size)
        example["tiles"] = tf.ensure_shape(tiles, [jigsaw.NUM_TILES, self.size, self.size, 3])
        if "numbers" in example:
            shape = [jigsaw.NUM_TILES, color.NUM_NUMBERS]
            example["tile_numbers"] = tf.random.stateless_uniform(shape, color_seed)
        return example

    def _canvas(self, picture, seed):
        """A large crop, uint8 [3 cell, 3 cell, 3]."""
        side = jigsaw.GRID * self.cell
        return augment.crop_and_flip(
            picture, [seed], side, self.canvas_options, self.settings.preprocessing.resizing
        )[0]

    @property
    def encoder_input(self):
        """The tiles: the view that the encoder sees besides is not counted."""
        return jigsaw.NUM_TILES, self.size

    def tiles(self, batch: dict) -> tf.Tensor:
        """The tiles of an image one after the other, float32 [9B, s, s, 3] in [0, 1]."""
        tiles = {"views": batch["tiles"]}
        if "tile_numbers" in batch:
            tiles["numbers"] = batch["tile_numbers"]
        return color.network_input(tiles, self.settings.augment)

    def outputs(self, batch, images, training):
        """{"features": of the view, "tile_features": of the tiles}, float32 [B, d], of length 1."""
        tiles = self.encoder(self.tiles(batch), training=training)["final_avg_pool"]
        of_each = self.tile_head(tiles, training=training)  # [9B, d]
        joined = tf.reshape(of_each, [-1, jigsaw.NUM_TILES * self.embedding_dim])
        tile_features = tf.math.l2_normalize(self.tiles_head(joined, training=training), -1)
        return {**super().outputs(batch, images, training), "tile_features": tile_features}

    def output_shapes(self):
        return {**super().output_shapes(), "tile_features": [self.embedding_dim]}

    def loss_of(self, outputs, labels, training):
        """Both are to find the image's feature in the bank (section 3.2)."""
        features, tile_features = outputs["features"], outputs["tile_features"]
        index = tf.cast(outputs["index"], tf.int64)
        tiles_loss, metrics = self.choice(tile_features, index, self.bank)
        view_loss, _ = self.choice(features, index, self.bank)
        if training:
            self.remember(features, index, self.bank)
        loss = TILES_WEIGHT * tiles_loss + (1 - TILES_WEIGHT) * view_loss
        return loss, {
            **metrics,
            "pretext_loss": loss,
            "pirl_tiles_loss": tiles_loss,
            "pirl_view_loss": view_loss,
            **collapse.gauge(features),
        }

    def pictures(self, batch):
        """The view, and the tiles."""
        tiles = tf.reshape(self.tiles(batch), [-1, jigsaw.NUM_TILES, self.size, self.size, 3])
        columns = enumerate(tf.unstack(tiles, axis=1), 1)
        return {**super().pictures(batch), **{f"tile {number}": tile for number, tile in columns}}
