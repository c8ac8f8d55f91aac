"""UDA: masking, sharpening and the divergence as a loop, and the annealing of labels."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.vectors import softmax
from tf_simclr.objectives.semi.ramps import SIGNAL_SCHEDULES
from tf_simclr.objectives.semi.uda import UDA, annealed_loss, consistency, signal_threshold

pytestmark = pytest.mark.usefixtures("shallow")


def slow_divergence(weak, strong, threshold):
    """KL(sharpened || strong) where the prediction is sure enough, else 0."""
    if max(softmax(weak)) < threshold:
        return 0.0
    target, other = softmax(weak, 0.4), softmax(strong)
    return sum(p * math.log(p / q) for p, q in zip(target, other))


@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.8])
def test_divergence(rng, threshold):
    weak, strong = (2 * rng.normal(size=(2, 7, 5))).astype(np.float32)
    losses, is_confident = consistency(tf.constant(weak), tf.constant(strong), threshold)
    expected = [slow_divergence(*pair, threshold) for pair in zip(weak, strong)]
    np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.array(is_confident) > 0, np.array(expected) > 0)


def test_the_weak_view_gets_no_gradient(rng):
    weak, strong = (tf.constant(rng.normal(size=(4, 5)), tf.float32) for _ in range(2))
    with tf.GradientTape() as tape:
        tape.watch([weak, strong])
        losses, _ = consistency(weak, strong, 0.0)
    of_weak, of_strong = tape.gradient(losses, [weak, strong])
    assert of_weak is None and np.any(of_strong != 0)


def test_signal_schedules():
    """From 1/C at the start, nearly or wholly, to 1 at the end, nearly or wholly."""
    progress = tf.constant([0.0, 0.5, 1.0])
    expected = {
        "linear": [0, 0.5, 1],
        "exp": [math.exp(-5), math.exp(-2.5), 1],
        "log": [0, 1 - math.exp(-2.5), 1 - math.exp(-5)],
    }
    for name, schedule in SIGNAL_SCHEDULES.items():
        np.testing.assert_allclose(schedule(progress), expected[name], rtol=1e-5)
    np.testing.assert_allclose(signal_threshold(progress, 4), [0.25, 0.625, 1])


def test_learned_labels_are_left_out(rng):
    logits = (2 * rng.normal(size=(8, 4))).astype(np.float32)
    labels = np.array([0, 1, -1, 3, 2, -1, 0, 1])
    known = [softmax(row)[label] for row, label in zip(logits, labels) if label >= 0]
    threshold = float(np.median(known)) + 1e-3
    counted = [-math.log(p) for p in known if p <= threshold]
    loss, share = annealed_loss(
        tf.constant(logits), tf.constant(labels, tf.int64), tf.constant(threshold)
    )
    np.testing.assert_allclose(loss, np.mean(counted), rtol=1e-5)
    np.testing.assert_allclose(share, len(counted) / len(known), rtol=1e-6)


def test_annealing_follows_the_training(settings):
    """At the start labels that are as likely as by chance, at the end all of them."""
    objective = UDA(settings(train_mode="semi", semi_method="uda", tsa="linear", train_steps=4), 2)
    objective.counter.build()
    outputs = {"logits": tf.constant([[[1.0, 0.0]] * 2, [[0.0, 1.0]] * 2])}
    labels = tf.constant([0, 0], tf.int64)
    rates = []
    for _ in range(5):
        objective.begin_step()
        rates.append(float(objective.label_loss(outputs, labels)[1]["label_rate"]))
    assert rates == [0.5, 0.5, 1.0, 1.0, 1.0]
