"""What can be measured of a network, from arrays alone.

A new evaluation is a file here, a row of `EVALUATIONS`, and its name in `config.registry`. It is a
function (train, test, options) that yields `Metric`s and `Detail`s: `train` and `test` are
`Examples`, `options` is the eval section of the configuration. It may raise `NotPossible`.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from threadpoolctl import threadpool_limits

from tf_simclr.config.evaluation_sections import EvalConfig
from tf_simclr.evaluation.metrics import (
    classifier,
    clustering,
    cross_validation,
    feature_health,
    knn,
    linear_probe,
    retrieval,
)
from tf_simclr.evaluation.metrics.base import Detail, Examples, Metric, NotPossible

# Numbers below which one thread computes: several wait for one another more than they compute
# (measured: 40 times slower on a busy machine).
SINGLE_THREAD_SIZE = 2**24


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A row of the table.

    Attributes:
        compute: the function.
        reads: "features" of each layer, or the "logits" of the linear classifier.
        needs_labels: whether test examples without a label are left out.
        needs_training_examples: whether it is fitted to training examples.
        needs_views: whether it compares two views of each image.
        of_baselines: whether untrained networks are evaluated, too.
        needs_unseen_labels: whether the network must not have learned from the labels.
    """

    compute: Callable[[Examples | None, Examples, EvalConfig], Iterator[Metric | Detail]]
    reads: str = "features"
    needs_labels: bool = True
    needs_training_examples: bool = False
    needs_views: bool = False
    of_baselines: bool = True
    needs_unseen_labels: bool = False


EVALUATIONS = {
    # The linear classifier is part of what was trained: without training it has nothing to say.
    "classifier": Evaluation(classifier.evaluate, reads="logits", of_baselines=False),
    "probe": Evaluation(linear_probe.evaluate, needs_training_examples=True),
    "few_labels": Evaluation(linear_probe.few_labels, needs_training_examples=True),
    "cross_validation": Evaluation(
        cross_validation.evaluate, needs_training_examples=True, needs_unseen_labels=True
    ),
    "knn": Evaluation(knn.evaluate, needs_training_examples=True),
    "clustering": Evaluation(clustering.evaluate),
    "retrieval": Evaluation(retrieval.evaluate),
    # Neighbors are only for looking at.
    "neighbors": Evaluation(retrieval.neighbors, needs_labels=False, of_baselines=False),
    "health": Evaluation(feature_health.evaluate, needs_labels=False, needs_views=True),
}


def run(
    name: str, train: Examples | None, test: Examples, options: EvalConfig
) -> tuple[dict[str, float], dict[str, object]]:
    """Runs one evaluation.

    Args:
        name: a key of `EVALUATIONS`.
        train: training examples, also without label; None: there are none.
        test: test examples, also without label.
        options: the eval section of the configuration.

    Returns:
        ({metric name: value}, {detail name: value}).

    Raises:
        NotPossible: something is missing or is not a number.
        TypeError: the evaluation yields something that is neither a `Metric` nor a `Detail`.
    """
    evaluation = EVALUATIONS[name]
    train, test = _usable_examples(evaluation, train, test)
    size = test.features.size
    if evaluation.needs_training_examples:
        size += train.features.size
    metrics, details = {}, {}
    with threadpool_limits(1 if size < SINGLE_THREAD_SIZE else None):
        for result in evaluation.compute(train, test, options):
            if isinstance(result, Metric):
                metrics[result.name] = result.value
            elif isinstance(result, Detail):
                details[result.name] = result.value
            else:
                raise TypeError(f"{name} yields {result!r}; a Metric or a Detail is expected")
    return metrics, details


def _usable_examples(evaluation, train, test):
    """(training, test) examples that the evaluation can use; NotPossible if there are none."""
    if evaluation.needs_training_examples and (train is None or not len(train.labeled())):
        raise NotPossible("no training example has a label")
    if evaluation.needs_labels:
        train = None if train is None else train.labeled()
        test = test.labeled()
    if not len(test):
        raise NotPossible("no test example has a label")
    if evaluation.needs_training_examples:
        _check_finite("training", train)
    _check_finite("test", test)
    return train, test


def _check_finite(kind, examples):
    sums = examples.features.sum(1, dtype=np.float64)
    num_bad = int((~np.isfinite(sums)).sum())
    if num_bad:
        raise NotPossible(
            f"{num_bad} of {len(examples)} {kind} examples have features that are not finite"
        )
