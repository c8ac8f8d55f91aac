"""S4L: the loss of the rotations as a loop, and labels that hold for all rotations."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.vectors import softmax
from tf_simclr.objectives.rotation import quarter_turns
from tf_simclr.objectives.semi.s4l import S4L

pytestmark = pytest.mark.usefixtures("shallow")


@pytest.fixture
def objective(settings):
    return S4L(settings(train_mode="semi", semi_method="s4l"), 10)


def test_loss(objective, rng):
    rotations = rng.normal(size=(5, 4, 4)).astype(np.float32)
    logits = rng.normal(size=(5, 4, 10)).astype(np.float32)
    labels = np.array([3, -1, -1, 9, -1])
    outputs = {"rotations": tf.constant(rotations), "logits": tf.constant(logits)}
    losses = [
        np.mean([-math.log(softmax(of_image[turns])[turns]) for turns in range(4)])
        for of_image in rotations
    ]
    expected = (np.mean([losses[i] for i in (1, 2, 4)]) + np.mean([losses[0], losses[3]])) / 2
    is_unlabeled = tf.constant(labels < 0, tf.float32)
    loss, metrics = objective.unlabeled_loss(outputs, is_unlabeled, True)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    right = rotations.argmax(-1) == np.arange(4)
    np.testing.assert_allclose(metrics["rotation_acc"], right.mean(), rtol=1e-6)
    loss, _ = objective.label_loss(outputs, tf.constant(labels, tf.int64))
    losses = [-math.log(softmax(row)[labels[i]]) for i in (0, 3) for row in logits[i]]
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)


def test_images(objective, rng):
    views = rng.integers(0, 256, (2, 1, 6, 6, 3)).astype(np.uint8)
    images = objective.images({"views": tf.constant(views)})
    for number in range(2):
        for turns in range(4):
            expected = quarter_turns(views[number], turns)[0] / 255
            np.testing.assert_allclose(images[4 * number + turns], expected, atol=1e-6)
