"""What can be measured of a network, from arrays alone. A new evaluation is one file and one line here.

Each is a function (train, test, options) -> iterator of (name, value): `Examples` of the training and of the test split, and the eval
section of the configuration. A value that is a float is a figure; anything else, made of lists, dicts, numbers and texts, is a detail
that the report shows. It may raise `NotPossible`.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from tf_simclr.evaluation.metrics import (
    classifier,
    clustering,
    feature_health,
    knn,
    linear_probe,
    retrieval,
)
from tf_simclr.evaluation.metrics.base import NotPossible

SMALL = (
    2**24
)  # numbers; below, several threads wait for one another more than they compute (measured: 40 times slower on a busy machine)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """`of`: what it is made of, "features" of each layer or "logits". Whether it needs labels, and whether it needs training examples."""

    compute: Callable
    of: str = "features"
    labels: bool = True
    train: bool = False


EVALUATIONS = {
    "classifier": Evaluation(classifier.evaluate, of="logits"),
    "probe": Evaluation(linear_probe.evaluate, train=True),
    "few_labels": Evaluation(linear_probe.few_labels, train=True),
    "knn": Evaluation(knn.evaluate, train=True),
    "clustering": Evaluation(clustering.evaluate),
    "retrieval": Evaluation(retrieval.evaluate),
    "neighbors": Evaluation(retrieval.neighbors, labels=False),
    "health": Evaluation(feature_health.evaluate, labels=False),
}


def run(name, train, test, options):
    """({figure: float}, {detail: value}) of the evaluation `name`.

    Args:
        train, test: `Examples`, also such without label; train is None where there are no training examples.

    Raises:
        NotPossible: what is missing, or is not a number.
    """
    evaluation = EVALUATIONS[name]
    if evaluation.train and (train is None or not len(train.labeled())):
        raise NotPossible("no training example has a label")
    if evaluation.labels:
        train, test = (
            None if examples is None else examples.labeled() for examples in (train, test)
        )
    if not len(test):
        raise NotPossible("no test example has a label")
    for what, examples in (("training", train if evaluation.train else None), ("test", test)):
        bad = (
            0
            if examples is None
            else int((~np.isfinite(examples.features.sum(1, dtype=np.float64))).sum())
        )
        if bad:
            raise NotPossible(
                f"{bad} of {len(examples)} {what} examples have features that are not finite"
            )
    figures, details = {}, {}
    size = test.features.size + (train.features.size if evaluation.train else 0)
    with threadpool_limits(1 if size < SMALL else None):
        for key, value in evaluation.compute(train, test, options):
            (figures if isinstance(value, float) else details)[key] = value
    return figures, details
