"""Jigsaw puzzles (Noroozi and Favaro 2016, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles")."""

import functools
import itertools

import numpy as np
import tensorflow as tf

from tf_simclr.data import augment, patches
from tf_simclr.data.color import GREY
from tf_simclr.models.heads import PatchesHead
from tf_simclr.objectives.pretext import Pretext

GRID = 3  # tiles a side
SHARE = 64 / 225  # of a tile in the side of the image (fig. 3)
CELL = 75 / 64  # side of the cell that a tile is drawn in, in tiles
CHANNEL_SHIFT = 2 / 64  # how far a channel of a tile is moved at most, in tiles (sec. 4.2)


class Jigsaw(Pretext):
    """In which of some permutations are the 3 x 3 tiles of an image?

    Which permutations is part of the training's state. They permute the features of the tiles, which is the same as the
    tiles, since each goes through the encoder by itself.
    """

    def __init__(self, settings, num_classes, num_images=0):
        super().__init__(settings, num_classes, num_images)
        options = settings.pretext
        self.size = options.patch_size or round(SHARE * settings.data.image_size)
        self.cell = max(round(CELL * self.size), self.size + 1) if options.patch_gaps else self.size
        self.head = PatchesHead(
            max(options.pretext_width // 8, 1),
            [options.pretext_width],
            options.num_permutations,
            *self.norm_options,
        )
        chosen = permutations(options.num_permutations, settings.train.seed)
        self.permutations = self.add_weight(
            name="permutations",
            shape=chosen.shape,
            dtype="int64",
            initializer="zeros",
            trainable=False,
        )  # a GPU has none of int32
        self.permutations.assign(chosen)

    def build_heads(self):
        self.head.build([None, GRID**2, self.encoder.feature_dim])

    def example(self, picture, label, seed, index=0, constant=None):
        options = self.settings.pretext
        crop, place, shift, grey, order = tf.unstack(
            tf.random.experimental.stateless_split(seed, 5)
        )
        canvas = augment.crop_and_flip(picture, [crop], GRID * self.cell, self.settings.augment)[0]
        canvas, is_grey = patches.sometimes_grey(canvas, grey, options.grey_probability, GREY)
        cells = self.cell * tf.constant(list(itertools.product(range(GRID), repeat=2)))  # [9, 2]
        corners = cells + patches.offsets(place, [GRID**2, 2], 0, self.cell - self.size)
        most = round(CHANNEL_SHIFT * self.size) if options.shift_channels else 0
        shifts = (
            tf.where(is_grey, 0, patches.offsets(shift, [GRID**2, 3, 2], -most, most))
            if most
            else None
        )
        target = tf.random.stateless_uniform([], order, 0, options.num_permutations, tf.int32)
        return {
            "views": patches.cut(canvas, corners, self.size, shifts),
            "target": target,
            "label": label,
        }

    def images(self, batch):
        """The tiles of an image one after the other, [9B, s, s, 3]."""
        tiles = super().images(batch)
        return patches.standardized(tiles) if self.settings.pretext.standardize_patches else tiles

    def outputs(self, batch, images, training):
        """Logits float32 [B, permutations]."""
        features = self.encoder(images, training=training)["final_avg_pool"]
        order = tf.gather(tf.convert_to_tensor(self.permutations), batch["target"])  # [B, 9]
        shuffled = tf.gather(
            tf.reshape(features, [-1, GRID**2, features.shape[-1]]), order, batch_dims=1
        )
        return {"logits": self.head(shuffled, training=training)}


@functools.lru_cache(maxsize=2)
def permutations(count, seed):
    """Permutations that differ much from one another (alg. 1): the first at random, then always that with the greatest sum of Hamming distances to those before.

    Returns:
        uint8 [count, 9].
    """
    places = np.array(
        list(itertools.permutations(range(GRID**2))), np.uint8
    ).T.copy()  # [9, 9!]: rows are compared faster than columns
    distance, chosen = (
        np.zeros(places.shape[1], np.int16),
        [int(np.random.default_rng(seed).integers(places.shape[1]))],
    )
    while len(chosen) < count:
        for row, tile in zip(places, places[:, chosen[-1]]):
            distance += row != tile
        distance[chosen] = -1  # each once
        chosen.append(int(np.argmax(distance)))
    return places[:, chosen].T
