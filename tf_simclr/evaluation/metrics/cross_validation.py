"""A linear probe on all labeled images, each predicted by one that has not seen it."""

import warnings

import numpy as np
from sklearn.model_selection import StratifiedKFold

from tf_simclr.config.evaluation_sections import FEW_EVALUATED
from tf_simclr.evaluation.metrics import linear_probe
from tf_simclr.evaluation.metrics.base import Detail, Examples, Metric, NotPossible

MAX_EXAMPLES = 2000
MAX_FOLDS = 10


def evaluate(train, test, options):
    """Stratified cross-validation over training and test examples, where the latter are few.

    Of few test examples an accuracy is hardly known. Features that were learned without labels have
    seen those of the training images no more than those of the test images, so both count. The L2
    strength is 1.

    Yields:
        cross_validated_accuracy and cross_validation: {"images", "folds"}; nothing from 100 test
        examples on.

    Raises:
        NotPossible: fewer than two classes have two examples.
    """
    if len(test) >= FEW_EVALUATED:
        return
    examples = _without_single_ones(_joined(train, test).drawn(MAX_EXAMPLES))
    class_sizes = np.unique(examples.labels, return_counts=True)[1]
    if len(class_sizes) < 2:
        raise NotPossible("fewer than two classes have two labeled images: none can be left out")
    num_folds = min(MAX_FOLDS, class_sizes.max())
    correct = np.zeros(len(examples), bool)
    for fitted_index, left_out_index in _folds(examples.labels, num_folds):
        fitted, left_out = examples.take(fitted_index), examples.take(left_out_index)
        probe = linear_probe.fit(fitted.features, fitted.labels, balanced=options.balances_classes)
        correct[left_out_index] = probe.predict(left_out.features) == left_out.labels
    yield Metric("cross_validated_accuracy", correct.mean())
    yield Detail("cross_validation", {"images": len(examples), "folds": int(num_folds)})


def _joined(train, test):
    return Examples(
        np.concatenate([train.features, test.features]),
        np.concatenate([train.labels, test.labels]),
    )


def _without_single_ones(examples):
    """Without the examples that are the only ones of their class."""
    class_sizes = np.bincount(examples.labels)
    return examples.take(class_sizes[examples.labels] > 1)


def _folds(labels, num_folds):
    """[(positions to fit to, positions left out)], every class spread over as many as it can be."""
    splitter = StratifiedKFold(num_folds, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        # A class with fewer examples than there are folds is left out one by one.
        warnings.filterwarnings("ignore", "The least populated class")
        return list(splitter.split(np.zeros(len(labels)), labels))
