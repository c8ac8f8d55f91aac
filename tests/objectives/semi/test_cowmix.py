"""CowMix: masks by a slow blur, mixing as a loop, and what labels keep."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage, stats

from tests.helpers.vectors import softmax
from tf_simclr.data import noise
from tf_simclr.objectives.semi.cow_masks import cow_masks
from tf_simclr.objectives.semi.cowmix import CowMix, mix, partners

pytestmark = pytest.mark.usefixtures("shallow")
FLAGS = {"train_mode": "semi", "semi_method": "cowmix"}


def test_masks(rng):
    """Algorithm 1 with a Gaussian blur of SciPy, zero-padded."""
    seeds = tf.constant(rng.integers(0, 1000, (4, 2)), tf.int32)
    numbers = rng.random((4, 2)).astype(np.float32)
    masks = cow_masks(seeds, tf.constant(numbers), 32).numpy()
    for mask, values, (u, v) in zip(masks, noise.normal(seeds, [32, 32]).numpy(), numbers):
        sigma = math.exp(math.log(4) + v * math.log(16 / 4))
        proportion = 0.2 + 0.6 * u
        smoothed = ndimage.gaussian_filter(values, sigma, mode="constant", truncate=20)
        threshold = smoothed.mean() + stats.norm.ppf(proportion) * smoothed.std()
        assert np.mean(mask == (smoothed <= threshold)) > 0.999


def test_neighbors_are_mixed():
    values = tf.range(5.0)
    np.testing.assert_array_equal(partners(values), [1, 0, 3, 2, 4])
    mixed = mix(values, partners(values), tf.constant([0.0, 1.0, 0.5, 0.25, 0.5]))
    np.testing.assert_allclose(mixed, [0, 0, 2.5, 2.75, 4])


@pytest.fixture
def objective(settings):
    objective = CowMix(settings(**FLAGS), 10)
    objective.build_variables()
    return objective


@pytest.fixture
def batch(rng):
    return {
        "views": tf.constant(rng.integers(0, 256, (4, 1, 16, 16, 3)).astype(np.uint8)),
        "mask_numbers": tf.constant(rng.random((4, 2)).astype(np.float32)),
        "noise_seed": tf.constant(rng.integers(0, 1000, (4, 2)), tf.int32),
        "label": tf.constant([3, -1, -1, -1], tf.int64),
    }


def test_images_and_predictions_are_mixed_alike(objective, batch):
    images = batch["views"][:, 0].numpy() / np.float32(255)
    masks = cow_masks(batch["noise_seed"], batch["mask_numbers"], 16).numpy()
    masks[0] = 0  # a label
    expected = images.copy()
    for i, j in enumerate([1, 0, 3, 2]):
        is_other = masks[i] == 1
        expected[i][is_other] = images[j][is_other]
    np.testing.assert_allclose(objective.images(batch), expected, atol=1e-6)
    targets = objective.targets(batch, None, True)
    logits = objective(tf.constant(images), training=False)["logits_sup"]
    predictions = np.array([softmax(row) for row in logits.numpy()])
    for i, j in enumerate([1, 0, 3, 2]):
        share = masks[i].mean()
        mixed = (1 - share) * predictions[i] + share * predictions[j]
        np.testing.assert_allclose(targets["teacher"][i], mixed, atol=1e-6)
        confidence = (1 - share) * predictions[i].max() + share * predictions[j].max()
        np.testing.assert_allclose(targets["confidences"][i], confidence, atol=1e-6)


def test_loss(objective, rng):
    """The squared distance, times the share of mixed confidences above the threshold."""
    logits = rng.normal(size=(4, 1, 10)).astype(np.float32)
    teacher = np.array([softmax(row) for row in rng.normal(size=(4, 10))], np.float32)
    outputs = {
        "logits": tf.constant(logits),
        "teacher": tf.constant(teacher),
        "confidences": tf.constant([0.9, 0.7, 0.5, 0.61]),
    }
    loss, metrics = objective.unlabeled_loss(outputs, tf.constant([0.0, 1, 1, 1]), True)
    distances = [np.sum((softmax(logits[i, 0]) - teacher[i]) ** 2) for i in (1, 2, 3)]
    np.testing.assert_allclose(loss, 2 / 3 * np.mean(distances), rtol=1e-5)
    np.testing.assert_allclose(metrics["mask_rate"], 2 / 3, rtol=1e-6)
