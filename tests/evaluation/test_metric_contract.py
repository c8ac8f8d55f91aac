"""What an evaluation yields: metrics and details, and nothing that is neither."""

import numpy as np
import pytest

from tf_simclr.config.evaluation_sections import EvalConfig
from tf_simclr.config.registry import EVALUATIONS as NAMES
from tf_simclr.evaluation import metrics
from tf_simclr.evaluation.metrics import EVALUATIONS, Evaluation
from tf_simclr.evaluation.metrics.base import Detail, Examples, Metric
from tf_simclr.report import metric_names

EXAMPLES = Examples(np.random.default_rng(0).random((60, 4), np.float32), np.arange(60) % 3)


def run_with(monkeypatch, compute):
    """Runs an evaluation of one's own: ({metric name: value}, {detail name: value})."""
    monkeypatch.setitem(EVALUATIONS, "own", Evaluation(compute))
    return metrics.run("own", EXAMPLES, EXAMPLES, EvalConfig())


@pytest.mark.parametrize("kind", [np.float32, np.float64, float, int, np.int64])
def test_a_metric_of_any_number_is_kept(monkeypatch, kind):
    """A float32 of NumPy, which is no float, has to be in the tables as any other."""

    def compute(train, test, options):
        yield Metric("accuracy", kind(1))
        yield Detail("numbers", [1, 2])

    values, details = run_with(monkeypatch, compute)
    assert values == {"accuracy": 1.0} and type(values["accuracy"]) is float
    assert details == {"numbers": [1, 2]}


def test_only_metrics_and_details_are_accepted(monkeypatch):
    def compute(train, test, options):
        yield "accuracy", 0.5

    with pytest.raises(TypeError, match=r"own yields .*; a Metric or a Detail is expected"):
        run_with(monkeypatch, compute)


def test_the_flag_names_the_registry():
    assert tuple(EVALUATIONS) == NAMES == EvalConfig().evaluations


@pytest.mark.parametrize("name", EVALUATIONS)
def test_all_metrics_have_a_name_for_readers(name):
    """Of every evaluation: a metric without one would be in no table."""
    values, details = metrics.run(
        name, EXAMPLES, EXAMPLES, EvalConfig(knn_k=5, knn_temperature=0.1)
    )
    assert values or details
    for name in values:
        family, _ = metric_names.metric_family(name)
        assert {name, family} & metric_names.METRICS.keys(), name
