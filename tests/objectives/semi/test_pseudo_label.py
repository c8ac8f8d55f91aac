"""Pseudo-Label: equation 15 as a loop and the ramp of equation 16."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.vectors import softmax
from tf_simclr.objectives.semi.pseudo_label import PseudoLabel

pytestmark = pytest.mark.usefixtures("shallow")
FLAGS = {"train_mode": "semi", "semi_method": "pseudo_label"}


def test_loss(settings, rng):
    objective = PseudoLabel(settings(**FLAGS), 10)
    logits = rng.normal(size=(6, 1, 10)).astype(np.float32)
    is_unlabeled = np.array([1, 1, 0, 1, 0, 1], np.float32)
    outputs = {"logits": tf.constant(logits)}
    loss, metrics = objective.unlabeled_loss(outputs, tf.constant(is_unlabeled), True)
    losses = [-math.log(max(softmax(row[0]))) for row in logits]
    np.testing.assert_allclose(loss, is_unlabeled @ losses / 4, rtol=1e-5)
    assert float(metrics["mask_rate"]) == 1


def test_weight(settings):
    """0 for a tenth of the training, alpha_f = 3 from six tenths on."""
    objective = PseudoLabel(settings(**FLAGS, train_steps=20), 10)
    objective.counter.build()
    weights = []
    for _ in range(20):
        objective.begin_step()
        weights.append(float(objective.weight()))
    expected = [3 * min(max((step / 20 - 0.1) / 0.5, 0), 1) for step in range(20)]
    np.testing.assert_allclose(weights, expected, atol=1e-6)
    assert weights[2] == 0 and weights[12] == pytest.approx(3)
