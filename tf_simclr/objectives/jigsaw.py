"""Jigsaw puzzles (Noroozi and Favaro 2016).

"Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles".
"""

import functools
import itertools

import numpy as np
import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.data import patches
from tf_simclr.data.color import LUMA
from tf_simclr.models.heads import PatchesHead
from tf_simclr.objectives.pretext import Pretext

GRID = 3  # tiles a side
NUM_TILES = GRID**2
TILE_SHARE = 64 / 225  # side of a tile to that of the image (figure 3)
CELL = 75 / 64  # side of the cell that a tile is drawn in, in tiles
CHANNEL_SHIFT = 2 / 64  # how far a channel of a tile is moved at most, in tiles (section 4.2)
WIDTH_DIVISOR = 8  # from the width of the head to that of a tile's own layer


class Jigsaw(Pretext):
    """In which of some permutations are the 3 x 3 tiles of an image?

    Which permutations is part of the training's state. They permute the features of the tiles,
    which is the same as the tiles, since each goes through the encoder by itself.

    Attributes:
        size: of a tile in pixels.
        cell: side of the cell that a tile is drawn in, in pixels.
        permutations: int64 [permutations, 9].
    """

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        options = settings.pretext
        self.size, self.cell = tile_and_cell(settings)
        self.head = PatchesHead(
            max(options.pretext_width // WIDTH_DIVISOR, 1),
            [options.pretext_width],
            options.num_permutations,
            *self.norm_options,
        )
        chosen = permutations(options.num_permutations, settings.train.seed)
        self.permutations = self.add_weight(
            name="permutations",
            shape=chosen.shape,
            dtype="int64",  # a GPU has no variables of int32
            initializer="zeros",
            trainable=False,
        )
        self.permutations.assign(chosen)

    def build_heads(self):
        self.head.build([None, NUM_TILES, self.encoder.feature_dim])

    def example(self, picture, label, seed, index=0, constant=None):
        """The tiles in their order, and which permutation they are to be in.

        Returns:
            {"views": uint8 [9, s, s, 3], "target": int32, the number of the permutation, "label"}.
        """
        options = self.settings.pretext
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 5))
        crop_seed, corner_seed, shift_seed, gray_seed, target_seed = seeds
        canvas = self.random_crop(picture, crop_seed, GRID * self.cell)
        canvas, is_gray = patches.sometimes_gray(canvas, gray_seed, options.grey_probability, LUMA)
        corners = tile_corners(corner_seed, self.size, self.cell)
        shifts = self._channel_shifts(shift_seed, is_gray) if options.shift_channels else None
        target = tf.random.stateless_uniform([], target_seed, 0, options.num_permutations, tf.int32)
        views = patches.cut(canvas, corners, self.size, shifts)
        return {"views": views, "target": target, "label": label}

    def _channel_shifts(self, seed, is_gray):
        """How far each channel of each tile is moved, int32 [9, 3, 2]; None: not at all."""
        most = round(CHANNEL_SHIFT * self.size)
        if not most:
            return None
        shifts = patches.offsets(seed, [NUM_TILES, 3, 2], -most, most)
        return tf.where(is_gray, 0, shifts)

    @property
    def encoder_input(self):
        return NUM_TILES, self.size

    def images(self, batch):
        """The tiles of an image one after the other, [9B, s, s, 3]."""
        tiles = super().images(batch)
        if self.settings.pretext.standardize_patches:
            return patches.standardized(tiles)
        return tiles

    def outputs(self, batch, images, training):
        """{"logits": float32 [B, permutations]}."""
        features = self.encoder(images, training=training)["final_avg_pool"]  # [9B, C]
        features = tf.reshape(features, [-1, NUM_TILES, features.shape[-1]])
        order = tf.gather(tf.convert_to_tensor(self.permutations), batch["target"])  # [B, 9]
        shuffled = tf.gather(features, order, batch_dims=1)
        return {"logits": self.head(shuffled, training=training)}


def tile_and_cell(settings: Config) -> tuple[int, int]:
    """(side of a tile, side of the cell that it is drawn in), both in pixels."""
    size = settings.pretext.patch_size or round(TILE_SHARE * settings.data.image_size)
    if not settings.pretext.patch_gaps:
        return size, size
    return size, max(round(CELL * size), size + 1)


def tile_corners(seed, size: int, cell: int) -> tf.Tensor:
    """Where the tiles of a canvas of 3 x 3 cells are: int32 [9, 2], row and column."""
    cells = cell * tf.constant(list(itertools.product(range(GRID), repeat=2)))
    return cells + patches.offsets(seed, [NUM_TILES, 2], 0, cell - size)


@functools.lru_cache(maxsize=2)
def permutations(count: int, seed: int) -> np.ndarray:
    """Permutations that differ much from one another (algorithm 1).

    The first one is random, then always the one with the greatest sum of Hamming distances to those
    before.

    Args:
        count: how many.
        seed: of the first one.

    Returns:
        uint8 [count, 9].
    """
    candidates = list(itertools.permutations(range(NUM_TILES)))
    # [9, 9!]: rows are compared faster than columns.
    candidates = np.array(candidates, np.uint8).T.copy()
    num_candidates = candidates.shape[1]
    distance = np.zeros(num_candidates, np.int16)
    chosen = [int(np.random.default_rng(seed).integers(num_candidates))]
    while len(chosen) < count:
        for tiles, tile in zip(candidates, candidates[:, chosen[-1]]):
            distance += tiles != tile
        distance[chosen] = -1  # each once
        chosen.append(int(np.argmax(distance)))
    return candidates[:, chosen].T
