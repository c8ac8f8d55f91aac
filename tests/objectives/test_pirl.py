"""PIRL: both losses against the bank, and where the tiles come from."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.training import Training, same_batches
from tests.helpers.vectors import normalized
from tf_simclr.data.image import DecodedImage
from tf_simclr.objectives.pirl import PIRL

pytestmark = pytest.mark.usefixtures("shallow")
TASK = {"pretext": "pirl"}
TAU = 0.2


def test_loss(settings, rng):
    """Half of the cross-entropy of the view, half of that of the tiles, an image at a time."""
    objective = PIRL(settings(**TASK, projector_dim=4, pretext_temperature=TAU), 0, 9)
    objective.bank.build([None, 4])
    bank = objective.bank.values().numpy()
    views, tiles = normalized(rng, 2, 4), normalized(rng, 2, 4)
    outputs = {"features": views, "tile_features": tiles, "index": [3.0, 8.0]}
    outputs = {name: tf.constant(value) for name, value in outputs.items()}
    total = 0.0
    for features in (views, tiles):
        for feature, i in zip(features, (3, 8)):
            similarities = [math.exp(sum(feature * other) / TAU) for other in bank]
            total -= math.log(similarities[i] / sum(similarities)) / 2 / 2
    loss, metrics = objective.loss_of(outputs, None, True)
    np.testing.assert_allclose(loss, total, rtol=1e-5)
    assert metrics["pretext_loss"] == loss
    moved = bank[[3, 8]] + views  # by the view, not by the tiles
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    np.testing.assert_allclose(objective.bank.values().numpy()[[3, 8]], moved, atol=1e-6)


def test_tiles(settings):
    """Each is where its cell is, in an order that the seed draws; the view is of its own crop."""
    options = settings(**TASK, image_size=225, use_flip=False, crop_area=(0.1, 0.2))
    objective = PIRL(options.replace(use_crop=False), 0, 9)
    rows, columns = np.indices((225, 225)).astype(np.uint8)
    picture = DecodedImage(tf.constant(np.stack([rows, columns, rows], -1)))
    orders = set()
    for seed in range(3):
        tiles = objective.example(picture, 0, tf.constant([7, seed]), 5)["tiles"].numpy()
        assert tiles.shape == (9, 64, 64, 3)
        corners = tiles[:, 0, 0, :2].astype(int)
        assert sorted(map(tuple, corners // 75)) == [(i, j) for i in range(3) for j in range(3)]
        assert (corners % 75 <= 11).all()
        orders.add(tuple(map(tuple, corners // 75)))
        expected = [rows[r : r + 64, c : c + 64] for r, c in corners]
        np.testing.assert_array_equal(tiles[..., 0], expected)
    assert len(orders) == 3
    assert objective.example(picture, 0, tf.constant([7, 0]), 5)["index"] == 5


@pytest.mark.parametrize(
    ("crop_area", "expected"),
    [((0.08, 1), (0.6, 1)), ((0.8, 1), (0.8, 1)), ((0.1, 0.5), (0.5, 0.5))],
)
def test_area_of_the_tiles(settings, crop_area, expected):
    objective = PIRL(settings(**TASK, crop_area=crop_area), 0, 9)
    assert objective.canvas_options.crop_area == expected


def test_view_and_tiles_learn_the_encoder(settings, eager):
    """The gradient of each of both losses reaches it, and neither the bank."""
    training = Training(settings(**TASK))
    objective = training.objective
    batch, *_ = same_batches(training, 1)
    for name in ("pirl_tiles_loss", "pirl_view_loss"):
        with tf.GradientTape() as tape:
            _, metrics = objective.part_loss(batch, False)
        gradient = tape.gradient(metrics[name], objective.encoder.trainable_variables[0].value)
        assert np.any(gradient != 0)
    assert id(objective.bank.features) not in {id(v) for v in objective.trainable_variables}
    assert [*objective.pictures(batch)] == ["view 1", *(f"tile {n}" for n in range(1, 10))]
