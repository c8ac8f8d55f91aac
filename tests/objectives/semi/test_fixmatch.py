"""FixMatch: equation 4 as a loop, which predictions count, and what gets no gradient."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.vectors import softmax
from tf_simclr.objectives.semi import pseudo_labels
from tf_simclr.objectives.semi.fixmatch import FixMatch, consistency

pytestmark = pytest.mark.usefixtures("shallow")


def slow_loss(weak, strong, threshold):
    """Equation 4: the mean over mu B images."""
    total = 0.0
    for weak_logits, strong_logits in zip(weak, strong):
        probabilities = softmax(weak_logits)
        if max(probabilities) >= threshold:
            label = int(np.argmax(probabilities))
            total -= math.log(softmax(strong_logits)[label])
    return total / len(weak)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.95])
def test_loss(settings, rng, threshold):
    """Images with a label do not count, wherever in the batch they are."""
    labels = np.array([-1, 3, -1, -1, 0, -1])
    logits = (3 * rng.normal(size=(6, 2, 10))).astype(np.float32)
    flags = {"confidence_threshold": threshold or 1e-6}
    objective = FixMatch(settings(train_mode="semi", **flags), 10)
    is_unlabeled = tf.constant(labels < 0, tf.float32)
    loss, metrics = objective.unlabeled_loss({"logits": tf.constant(logits)}, is_unlabeled, True)
    weak, strong = logits[labels < 0, 0], logits[labels < 0, 1]
    np.testing.assert_allclose(loss, slow_loss(weak, strong, threshold), rtol=1e-5)
    confidences = [max(softmax(each)) for each in weak]
    np.testing.assert_allclose(metrics["confidence"], np.mean(confidences), rtol=1e-5)
    np.testing.assert_allclose(metrics["mask_rate"], np.mean(np.array(confidences) >= threshold))


def test_published_constants(settings):
    objective = FixMatch(settings(train_mode="semi"), 10)
    assert (objective.threshold, objective.decay, objective.published_ratio) == (0.95, 0.999, 7)
    assert float(objective.full_weight) == 1


def test_the_weak_view_gets_no_gradient(rng):
    weak, strong = (tf.constant(rng.normal(size=(4, 5)), tf.float32) for _ in range(2))
    with tf.GradientTape() as tape:
        tape.watch([weak, strong])
        losses, is_confident = consistency(weak, strong, 0.0)
    of_weak, of_strong = tape.gradient(losses, [weak, strong])
    assert of_weak is None and np.any(of_strong != 0)
    assert np.all(is_confident == 1)


def test_effective_number_of_classes():
    probabilities = tf.constant([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    for weights, expected in (([1, 1, 1, 1], 4), ([1, 1, 0, 0], 2), ([0, 0, 1, 0], 1)):
        gauge = pseudo_labels.gauge(probabilities, tf.constant(weights, tf.float32))
        np.testing.assert_allclose(gauge["predicted_classes"], expected, rtol=1e-5)


def test_warnings():
    healthy = {"mask_rate": 0.4, "predicted_classes": 3.0}
    assert pseudo_labels.warning(healthy, 10) is None
    assert pseudo_labels.warning({}, 10) is None
    assert "no prediction is confident enough" in pseudo_labels.warning({"mask_rate": 0.0}, 10)
    collapsed = {**healthy, "predicted_classes": 1.01}
    assert "collapsed to one class (1.01 of 10" in pseudo_labels.warning(collapsed, 10)
    assert pseudo_labels.warning({"predicted_classes": 1.0}, 1) is None
    assert "one class (1.01 of 2" in pseudo_labels.warning({"predicted_classes": 1.008}, 2)
    assert pseudo_labels.warning({"predicted_classes": 1.04}, 2) is None
