"""A rare class that is never recognized shows in the balanced accuracy."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from tests.helpers.configurations import TINY
from tf_simclr import config
from tf_simclr.evaluation import metrics
from tf_simclr.evaluation.metrics.base import Examples
from tf_simclr.report import metric_names

OPTIONS = config.build(TINY).eval


def test_classifier_that_ignores_a_rare_class():
    labels = np.array([0] * 8 + [2])
    logits = np.tile([1.0, 0.0, 0.5], (9, 1))
    values, details = metrics.run("classifier", None, Examples(logits, labels), OPTIONS)
    assert values["label_top_1_accuracy"] == pytest.approx(8 / 9)
    assert values["label_balanced_accuracy"] == 0.5
    assert details["never_predicted"] == [2]


def test_probe_equals_scikit_learn(rng):
    labels = rng.choice(3, 90, p=(0.8, 0.15, 0.05))
    features = rng.normal(size=(90, 4)) + labels[:, None]
    train, test = Examples(features[:60], labels[:60]), Examples(features[60:], labels[60:])
    values, _ = metrics.run("probe", train, test, OPTIONS)
    assert values["linear_probe_balanced_accuracy"] < values["linear_probe_accuracy"]

    logits = rng.normal(size=(30, 3))
    values, _ = metrics.run("classifier", None, Examples(logits, test.labels), OPTIONS)
    expected = balanced_accuracy_score(test.labels, logits.argmax(1))
    assert values["label_balanced_accuracy"] == pytest.approx(expected)


def test_names_in_the_tables():
    names = ["linear_probe_balanced_accuracy", "label_balanced_accuracy", "label_top_1_accuracy"]
    assert metric_names.in_table_order(names) == names[::-1]
    assert set(names[:2]) <= set(metric_names.METRICS)
