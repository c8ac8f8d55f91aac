"""Weights of rare classes in the loss of labels."""

import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.objectives.supervised import balanced_weights, classification_loss
from tf_simclr.training.experiment import build_experiment


def test_loss_equals_a_slow_loop(rng):
    labels = np.array([0, 0, 0, 0, 2, -1, 2, 0], np.int64)
    logits = rng.normal(size=(8, 4)).astype(np.float32)
    weights = balanced_weights(labels, 4)
    np.testing.assert_allclose(weights, [7 / (2 * 5), 0, 7 / (2 * 2), 0], rtol=1e-6)
    total, total_weight = 0.0, 0.0
    for row, label in zip(logits, labels, strict=True):
        if label >= 0:
            probabilities = np.exp(row) / np.exp(row).sum()
            total -= weights[label] * np.log(probabilities[label])
            total_weight += weights[label]
    assert total_weight == pytest.approx(7)
    loss, metrics = classification_loss(tf.constant(logits), tf.constant(labels), weights)
    assert float(loss) == pytest.approx(total / 7, rel=1e-5)
    unweighted, other_metrics = classification_loss(tf.constant(logits), tf.constant(labels))
    assert float(unweighted) != pytest.approx(float(loss), rel=1e-3)
    assert metrics["supervised_acc"] == other_metrics["supervised_acc"]


def test_weights_of_a_training(settings, shallow, log):
    flags = {"class_weights": "balanced", "label_fraction": 0.5}
    experiment = build_experiment(settings(train_mode="supervised", **flags))
    _, labels = experiment.data.train_source.example_ids()
    used = labels[labels >= 0]
    weights = experiment.objective.class_weights
    assert len(used) < len(labels) and len(np.unique(weights)) > 1
    assert weights[used].mean() == pytest.approx(1, rel=1e-5)
    assert "--class_weights=balanced" in log.text
    logits = np.eye(10, dtype=np.float32)
    labels = tf.range(10, dtype=tf.int64)
    loss, _ = experiment.objective.loss_of({"logits": tf.constant(logits)}, labels, True)
    expected, _ = classification_loss(logits, labels, weights)
    assert float(loss) == pytest.approx(float(expected))
    assert build_experiment(settings(**flags)).objective.class_weights is None
