"""A rare class that is never recognized shows in the balanced accuracy."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from tests.helpers.configurations import TINY
from tf_simclr import config
from tf_simclr.evaluation import metrics
from tf_simclr.evaluation.metrics import linear_probe, sgd_probe
from tf_simclr.evaluation.metrics.base import Examples
from tf_simclr.objectives.supervised import balanced_weights
from tf_simclr.report import metric_names

OPTIONS = config.build(TINY).eval
BALANCED_OPTIONS = config.build(TINY | {"class_weights": "balanced"}).eval


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
    values, details = metrics.run("probe", train, test, OPTIONS)
    assert values["linear_probe_balanced_accuracy"] < values["linear_probe_accuracy"]
    assert details["class_counts"] == [np.sum(test.labels == label) for label in range(3)]

    logits = rng.normal(size=(30, 3))
    values, _ = metrics.run("classifier", None, Examples(logits, test.labels), OPTIONS)
    expected = balanced_accuracy_score(test.labels, logits.argmax(1))
    assert values["label_balanced_accuracy"] == pytest.approx(expected)


@pytest.fixture(scope="module")
def uneven():
    """(training examples, test examples) of three classes that overlap, one of them rare."""
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 3600, p=(0.6, 0.35, 0.05))
    features = rng.normal(size=(3600, 4)).astype(np.float32)
    features[:, 0] += labels
    return Examples(features[:600], labels[:600]), Examples(features[600:], labels[600:])


@pytest.mark.parametrize("solver", ["L-BFGS", "minibatches"])
def test_probe_in_which_classes_count_the_same(uneven, solver, monkeypatch):
    train, test = uneven
    fitted = train
    if solver == "minibatches":
        fitted = train.take(np.random.default_rng(0).permutation(600)[120:])
        monkeypatch.setattr(linear_probe, "MAX_LBFGS_EXAMPLES", 100)
        monkeypatch.setattr(sgd_probe, "MIN_STEPS", 600)
    values, details = metrics.run("probe", train, test, BALANCED_OPTIONS)
    assert details["probe"]["solver"] == solver
    weights = balanced_weights(fitted.labels, 3)
    regression = LogisticRegression(C=1 / details["probe"]["l2_strength"])
    scaler = StandardScaler().fit(fitted.features)
    scaled = scaler.transform(fitted.features)
    regression.fit(scaled, fitted.labels, sample_weight=weights[fitted.labels])
    predicted = regression.predict(scaler.transform(test.features))
    expected = balanced_accuracy_score(test.labels, predicted)
    assert values["linear_probe_balanced_accuracy"] == pytest.approx(expected, abs=0.03)
    unweighted, _ = metrics.run("probe", train, test, OPTIONS)
    gain = expected - unweighted["linear_probe_balanced_accuracy"]
    assert gain > 0.1


def test_strength_is_chosen_as_classes_count(uneven, monkeypatch):
    """By the balanced accuracy, which for each of the strengths is another one."""
    chosen_by = []

    def score(self, features, labels, sample_weight):
        chosen_by.append(np.bincount(labels, sample_weight))
        return 0.5

    monkeypatch.setattr(LogisticRegression, "score", score)
    for options in (OPTIONS, BALANCED_OPTIONS):
        metrics.run("probe", *uneven, options)
    of_all, of_balanced = chosen_by[0], chosen_by[-1]
    assert of_all.min() < of_all.max() / 5
    np.testing.assert_allclose(of_balanced, of_balanced[0], rtol=1e-6)


def test_few_labels_and_cross_validation_in_which_classes_count_the_same(uneven):
    train, test = uneven
    test = test.take(np.arange(50))
    for name in ("few_labels", "cross_validation"):
        assert metrics.run(name, train, test, BALANCED_OPTIONS)[0]
    # All of a class that has fewer labels than are drawn of others: it weighs more.
    shares = [np.flatnonzero(train.labels == label)[:count] for label, count in ((0, 20), (2, 2))]
    few = train.take(np.concatenate(shares))
    even = linear_probe.FewLabels(few, test, balanced=True).accuracies(20, [0])
    assert even != linear_probe.FewLabels(few, test).accuracies(20, [0])


def test_names_in_the_tables():
    names = ["linear_probe_balanced_accuracy", "label_balanced_accuracy", "label_top_1_accuracy"]
    assert metric_names.in_table_order(names) == names[::-1]
    assert set(names[:2]) <= set(metric_names.METRICS)
