"""FreeMatch: thresholds and fairness as loops, over several steps."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.vectors import softmax
from tf_simclr.objectives.semi.freematch import FreeMatch

pytestmark = pytest.mark.usefixtures("shallow")
CLASSES = 4
LAMBDA = 0.999


class Slow:
    """The state of the paper's thresholds, and the loss of a batch of images without label."""

    def __init__(self):
        self.tau = 1 / CLASSES
        self.p = np.full(CLASSES, 1 / CLASSES)
        self.h = np.full(CLASSES, 1 / CLASSES)

    def loss(self, weak, strong):
        q = np.array([softmax(logits) for logits in weak])
        labels = q.argmax(1)
        histogram = np.bincount(labels, minlength=CLASSES) / len(q)
        self.tau = LAMBDA * self.tau + (1 - LAMBDA) * q.max(1).mean()
        self.p = LAMBDA * self.p + (1 - LAMBDA) * q.mean(0)
        self.h = LAMBDA * self.h + (1 - LAMBDA) * histogram
        thresholds = self.p / self.p.max() * self.tau
        mask = q.max(1) >= thresholds[labels]
        big_q = np.array([softmax(logits) for logits in strong])
        u = sum(-math.log(big_q[i, labels[i]]) for i in range(len(q)) if mask[i]) / len(q)
        kept = big_q[mask]
        counts = np.bincount(kept.argmax(1), minlength=CLASSES)
        expected = self.p / self.h
        actual = np.array([m / c if c else 0.0 for m, c in zip(kept.sum(0), counts)])
        expected, actual = expected / expected.sum(), actual / actual.sum()
        fairness = sum(a * math.log(b + 1e-12) for a, b in zip(expected, actual))
        return u + 0.01 * fairness, mask.mean(), thresholds.mean(), fairness


@pytest.fixture
def objective(settings):
    objective = FreeMatch(settings(train_mode="semi", semi_method="freematch"), CLASSES)
    objective.build_state()
    return objective


def test_loss(objective, rng):
    slow = Slow()
    for scale in (0.5, 4.0, 2.0):
        labels = np.array([-1] * 9 + [2])
        logits = (scale * rng.normal(size=(10, 2, CLASSES))).astype(np.float32)
        is_unlabeled = tf.constant(labels < 0, tf.float32)
        outputs = {"logits": tf.constant(logits)}
        loss, metrics = objective.unlabeled_loss(outputs, is_unlabeled, True)
        expected = slow.loss(logits[:9, 0], logits[:9, 1])
        names = ("mask_rate", "threshold", "fairness_loss")
        actual = [loss, *(metrics[name] for name in names)]
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_an_evaluation_moves_no_threshold(objective):
    logits = tf.constant([[[9.0, 0, 0, 0]] * 2] * 3)
    objective.unlabeled_loss({"logits": logits}, tf.ones([3]), False)
    np.testing.assert_array_equal(objective.thresholds.of_classes(), [0.25] * 4)


def test_nothing_without_label(objective):
    """A batch that has labels alone: no loss, and a gradient that is finite."""
    logits = tf.constant([[[1.0, 0, 0, 0]] * 2] * 3)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss, _ = objective.unlabeled_loss({"logits": logits}, tf.zeros([3]), True)
    assert float(loss) == 0
    assert np.isfinite(tape.gradient(loss, logits)).all()
