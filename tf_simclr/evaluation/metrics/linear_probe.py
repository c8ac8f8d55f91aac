"""Linear probe: logistic regression on fixed features, with all labels and with few."""

import warnings
from collections.abc import Iterable

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from tf_simclr.evaluation.metrics import label_law, sgd_probe
from tf_simclr.evaluation.metrics.base import (
    Detail,
    Examples,
    Metric,
    NotPossible,
    balanced_accuracy,
)
from tf_simclr.report import image_bits

# L2 strengths to choose from: strength/2 times the squared weights, beside the sum of the losses.
STRENGTHS = (1e4, 1e3, 1e2, 1e1, 1.0, 0.1)
HELD_OUT_FRACTION = 0.2  # share of the training examples that chooses the strength
MAX_ITERATIONS = 200  # of L-BFGS
TOLERANCE = 1e-3  # of the mean gradient, which is the smaller, the more classes share it
MANY_CLASSES = 300  # more of them take a lower tolerance, not to end after the first step
# Fewer examples are split several times, since one split of few says little.
FEW_EXAMPLES = 500
NUM_SPLITS = 10
# More examples, or more products in one pass over them, go through minibatches on the device.
MAX_LBFGS_EXAMPLES = 200_000
MAX_LBFGS_PRODUCTS = 2e10
LABELS_PER_CLASS = (1, 2, 5, 10, 20)
NUM_DRAWS = 5


def evaluate(train, test, options):
    """Logistic regression on standardized features; `class_weights` says how classes count.

    The L2 strength is chosen on a fifth of the training examples, of fewer than 500 in the mean
    over ten draws of it.

    Yields:
        linear_probe_accuracy, linear_probe_balanced_accuracy, probe: {"l2_strength", "solver"},
        probe_correct, which test examples are right, see `image_bits.pack`, and class_counts, the
        test examples of each class.

    Raises:
        NotPossible: labels of one class only.
    """
    classes = _at_least_two_classes(train)
    balanced = options.balances_classes
    if _is_for_minibatches(train.features, len(classes)):
        solver = "minibatches"
        probe, strength = sgd_probe.fit(train, STRENGTHS, HELD_OUT_FRACTION, class_weight(balanced))
    else:
        solver = "L-BFGS"
        strength = _choose_strength(train, balanced)
        probe = fit(train.features, train.labels, strength, balanced)
    yield Detail("probe", {"l2_strength": strength, "solver": solver})
    correct = probe.predict(test.features) == test.labels
    yield Metric("linear_probe_accuracy", np.mean(correct))
    yield Detail("probe_correct", image_bits.pack(correct, test.labels))
    yield Detail("class_counts", np.bincount(test.labels).tolist())
    yield Metric("linear_probe_balanced_accuracy", balanced_accuracy(correct, test.labels))


def few_labels(train, test, options):
    """As `evaluate` with 1, 2, 5, 10, 20 labels a class and an L2 strength of 1.

    Each is measured for five draws of the labels. The features are standardized by all of the
    training examples, which needs none of their labels.

    Yields:
        few_labels_<n>_accuracy, the mean over the draws, few_labels: [{"labels_per_class",
        "labels" (in all), "mean", "std", "draws"}], and label_law, see `label_law.answer`. Where
        the classes have n examples in all, or fewer, there is one draw only, and nothing for more
        labels.
    """
    classes = _at_least_two_classes(train)
    class_sizes = np.array([np.sum(train.labels == label) for label in classes])
    few = FewLabels(train, test, options.balances_classes)
    results = []
    for labels_per_class in LABELS_PER_CLASS:
        uses_all = (class_sizes <= labels_per_class).all()
        seeds = range(1 if uses_all else NUM_DRAWS)
        accuracies = few.accuracies(labels_per_class, seeds)
        mean = float(np.mean(accuracies))
        results.append(
            {
                "labels_per_class": labels_per_class,
                "labels": int(np.minimum(class_sizes, labels_per_class).sum()),
                "mean": mean,
                "std": float(np.std(accuracies)),
                "draws": accuracies,
            }
        )
        yield Metric(f"few_labels_{labels_per_class}_accuracy", mean)
        if uses_all:
            break
    yield Detail("few_labels", results)
    labels = [entry["labels"] for entry in results]
    draws = [entry["draws"] for entry in results]
    yield Detail("label_law", label_law.answer(labels, draws, len(test)))


class FewLabels:
    """Training examples of which few have a label, and what can be said of test examples then.

    The features are standardized by all of the training examples, once.

    Args:
        train: examples to draw labels from, all labeled.
        test: labeled examples.
        balanced: whether a label weighs the more the rarer its class is.
    """

    def __init__(self, train: Examples, test: Examples, balanced: bool = False):
        self._train = train
        self._balanced = balanced
        self._classes = np.unique(train.labels)
        self._scaler = StandardScaler().fit(train.features)
        self._scaled_test = self._scaler.transform(test.features)
        self._test_labels = test.labels

    def accuracies(self, labels_per_class: int, seeds: Iterable[int]) -> list[float]:
        """The accuracy for each of some draws of labels.

        Args:
            labels_per_class: how many; all of a class with fewer.
            seeds: of the draws.
        """
        accuracies = []
        for seed in seeds:
            index = _draw_labels(self._train.labels, self._classes, labels_per_class, seed)
            scaled = self._scaler.transform(self._train.features[index])
            labels = self._train.labels[index]
            regression = _fit_regression(scaled, labels, 1.0, self._balanced)
            accuracies.append(float(regression.score(self._scaled_test, self._test_labels)))
        return accuracies


def _draw_labels(labels, classes, labels_per_class, seed):
    """Positions of a seeded draw of `labels_per_class` examples of each class."""
    rng = np.random.default_rng(seed)
    drawn = []
    for label in classes:
        members = np.flatnonzero(labels == label)
        drawn.append(rng.permutation(members)[:labels_per_class])
    return np.concatenate(drawn)


def _at_least_two_classes(train):
    classes = np.unique(train.labels)
    if len(classes) < 2:
        raise NotPossible(
            "the labels of the training examples are of one class only: there is nothing to tell "
            "apart"
        )
    return classes


def _choose_strength(train, balanced):
    """The strength with the best accuracy on training examples that it is not fitted to.

    Of equals the one nearest to 1, which it is where a class has one example only.
    """
    class_sizes = np.unique(train.labels, return_counts=True)[1]
    if class_sizes.min() < 2:
        return 1.0
    num_splits = NUM_SPLITS if len(train) < FEW_EXAMPLES else 1
    num_held_out = max(int(HELD_OUT_FRACTION * len(train)), len(class_sizes))
    splits = StratifiedShuffleSplit(num_splits, test_size=num_held_out, random_state=0)
    accuracies = np.zeros(len(STRENGTHS))
    for fitted_index, held_out_index in splits.split(train.features, train.labels):
        scaler = StandardScaler().fit(train.features[fitted_index])
        fitted = scaler.transform(train.features[fitted_index])
        held_out = scaler.transform(train.features[held_out_index])
        accuracies += _accuracy_of_strengths(
            (fitted, train.labels[fitted_index]),
            (held_out, train.labels[held_out_index]),
            balanced=balanced,
            stops_early=num_splits == 1,
        )

    def quality(pair):
        accuracy, strength = pair
        return accuracy, -abs(np.log(strength))

    _, best_strength = max(zip(accuracies, STRENGTHS), key=quality)
    return best_strength


def _accuracy_of_strengths(fitted, held_out, *, balanced, stops_early):
    """Held-out accuracy for each of the STRENGTHS; each fit starts from the one before.

    Args:
        fitted: (features, labels) to fit to.
        held_out: (features, labels) to measure on.
        balanced: whether a label weighs the more the rarer its class is, in both.
        stops_early: 0 from where the accuracy has fallen by more than its standard error, which is
            no matter of chance any more.
    """
    regression = _regression(fitted[1], balanced, warm_start=True)
    accuracies = np.zeros(len(STRENGTHS))
    held_out_labels = held_out[1]
    num_held_out = len(held_out_labels)
    weights = compute_sample_weight(class_weight(balanced), held_out_labels)
    for number, strength in enumerate(STRENGTHS):
        regression.set_params(C=1 / strength)
        _fit_without_warning(regression, *fitted)
        accuracies[number] = regression.score(*held_out, weights)
        best = accuracies.max()
        standard_error = np.sqrt(best * (1 - best) / num_held_out)
        if stops_early and accuracies[number] < best - standard_error:
            break
    return accuracies


def fit(
    features: np.ndarray, labels: np.ndarray, strength: float = 1.0, balanced: bool = False
) -> Pipeline:
    """Fits the probe, by the solver that is made for so many examples.

    Args:
        features: [N, C].
        labels: [N], of at least two classes.
        strength: of the L2 penalty.
        balanced: whether a label weighs the more the rarer its class is, 1 in the mean.

    Returns:
        A scikit-learn pipeline of scaler and logistic regression.
    """
    if _is_for_minibatches(features, len(np.unique(labels))):
        train = Examples(features, labels)
        # Of a single strength nothing is to be chosen: one example alone is held out for it.
        probe, _ = sgd_probe.fit(train, (strength,), 0, class_weight(balanced))
        return probe
    scaler = StandardScaler()
    scaled = scaler.fit_transform(features)
    return make_pipeline(scaler, _fit_regression(scaled, labels, strength, balanced))


def _is_for_minibatches(features, num_classes):
    num_products = features.size * num_classes
    return len(features) > MAX_LBFGS_EXAMPLES or num_products > MAX_LBFGS_PRODUCTS


def class_weight(balanced: bool) -> str | None:
    """Weights of the classes in scikit-learn's words, as `objectives.supervised` has them."""
    return "balanced" if balanced else None


def _fit_regression(scaled, labels, strength, balanced):
    return _fit_without_warning(_regression(labels, balanced, C=1 / strength), scaled, labels)


def _regression(labels, balanced, **options):
    tolerance = TOLERANCE / max(len(np.unique(labels)) / MANY_CLASSES, 1)
    return LogisticRegression(
        max_iter=MAX_ITERATIONS, tol=tolerance, class_weight=class_weight(balanced), **options
    )


def _fit_without_warning(regression, scaled, labels):
    with warnings.catch_warnings():
        # Nearly collapsed features never converge; what so many iterations reach counts.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Few labels a class are what is measured, not numbers that were taken for classes.
        warnings.filterwarnings("ignore", "The number of unique classes")
        return regression.fit(scaled, labels)


def as_linear_layer(probe: Pipeline, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """A fitted probe as a linear layer on features that are not standardized.

    Args:
        probe: of `fit`.
        num_classes: outputs of the layer; a class that the probe was not fitted to gets the least
            of the biases.

    Returns:
        (kernel float32 [C, num_classes], bias float32 [num_classes]).
    """
    scaler, regression = probe
    weights = regression.coef_  # [classes, C]
    biases = regression.intercept_  # [classes]
    if len(weights) == 1:  # two classes have one row, the logit of the second
        weights = np.concatenate([-weights, weights]) / 2
        biases = np.concatenate([-biases, biases]) / 2
    weights = weights / scaler.scale_
    biases = biases - weights @ scaler.mean_
    kernel = np.zeros((weights.shape[1], num_classes))
    bias = np.full(num_classes, biases.min())
    kernel[:, regression.classes_] = weights.T
    bias[regression.classes_] = biases
    return kernel.astype(np.float32), bias.astype(np.float32)
