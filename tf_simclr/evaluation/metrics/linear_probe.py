"""Linear probe: logistic regression on fixed features, with all labels and with few."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tf_simclr.evaluation.metrics import sgd_probe
from tf_simclr.evaluation.metrics.base import NotPossible

STRENGTHS = (
    1e4,
    1e3,
    1e2,
    1e1,
    1.0,
    0.1,
)  # of the L2 penalty, strength/2 times the squared weights beside the sum of the losses
HELD_OUT = 0.2  # of the training examples choose the strength
STEPS = 200  # of L-BFGS at most
FEW, SPLITS = 500, 10  # fewer are split so often, since one split of few says little
SGD_EXAMPLES, SGD_PRODUCTS = (
    200_000,
    2e10,
)  # more examples, or more products in one pass over them: minibatches on the device
LABELS, DRAWS = (1, 2, 5, 10, 20), 5


def evaluate(train, test, options):
    """Logistic regression on standardised features, the L2 strength chosen on a fifth of the training examples (of fewer than 500 in
    the mean over ten draws of it).

    Yields:
        linear_probe_accuracy, and probe: {"l2_strength", "solver"}.

    Raises:
        NotPossible: labels of one class only.
    """
    classes = _at_least_two(train)
    if len(train) > SGD_EXAMPLES or train.features.size * len(classes) > SGD_PRODUCTS:
        fitted, strength = sgd_probe.fit(train, STRENGTHS, HELD_OUT)
        solver = "minibatches"
    else:
        strength, solver = _choose(train), "L-BFGS"
        fitted = fit(train.features, train.labels, strength)
    yield "probe", {"l2_strength": strength, "solver": solver}
    yield "linear_probe_accuracy", float(fitted.score(test.features, test.labels))


def few_labels(train, test, options):
    """As `evaluate` with 1, 2, 5, 10, 20 labels a class and an L2 strength of 1, each for five draws of the labels.

    The features are standardised by all of the training examples, which needs none of their labels.

    Yields:
        few_labels_<n>_accuracy, the mean over the draws, and few_labels: [{"labels_per_class", "mean", "std", "draws"}]. Where the classes
        have n examples in all, or fewer, there is one draw only, and nothing for more labels.
    """
    classes = _at_least_two(train)
    counts = np.array([np.sum(train.labels == c) for c in classes])
    scaler = StandardScaler().fit(train.features)
    scaled, rows = scaler.transform(test.features), []
    for per_class in LABELS:
        everything = (counts <= per_class).all()
        draws = [
            _score_of_draw(train, classes, per_class, seed, scaler, (scaled, test.labels))
            for seed in range(1 if everything else DRAWS)
        ]
        rows.append(
            {
                "labels_per_class": per_class,
                "mean": float(np.mean(draws)),
                "std": float(np.std(draws)),
                "draws": draws,
            }
        )
        yield f"few_labels_{per_class}_accuracy", rows[-1]["mean"]
        if everything:
            break
    yield "few_labels", rows


def _score_of_draw(train, classes, per_class, seed, scaler, test):
    rng = np.random.default_rng(seed)
    index = np.concatenate(
        [rng.permutation(np.flatnonzero(train.labels == c))[:per_class] for c in classes]
    )
    return float(
        _regression(1.0, scaler.transform(train.features[index]), train.labels[index]).score(*test)
    )


def _at_least_two(train):
    classes = np.unique(train.labels)
    if len(classes) < 2:
        raise NotPossible(
            "the labels of the training examples are of one class only: there is nothing to tell apart"
        )
    return classes


def _choose(train):
    """The strength with the best accuracy on training examples that it is not fitted to; of equals that nearest to 1, which it is where a class has one example."""
    counts = np.unique(train.labels, return_counts=True)[1]
    if counts.min() < 2:
        return 1.0
    times = SPLITS if len(train) < FEW else 1
    splits = StratifiedShuffleSplit(
        times, test_size=max(int(HELD_OUT * len(train)), len(counts)), random_state=0
    )
    right = np.zeros(len(STRENGTHS))
    for rows in splits.split(train.features, train.labels):
        scaler = StandardScaler().fit(train.features[rows[0]])
        fitted_to, held_out = (
            (scaler.transform(train.features[index]), train.labels[index]) for index in rows
        )
        right += _path(fitted_to, held_out, times == 1)
    return max(zip(right, STRENGTHS), key=lambda pair: (pair[0], -abs(np.log(pair[1]))))[1]


def _path(fitted_to, held_out, stop):
    """Accuracy on `held_out` for each of the STRENGTHS, each fit starting from the one before.

    `stop`: 0 from where it has fallen by more than its standard error, which is no matter of chance any more.
    """
    regression, right = (
        LogisticRegression(max_iter=STEPS, tol=1e-3, warm_start=True),
        np.zeros(len(STRENGTHS)),
    )
    for number, strength in enumerate(STRENGTHS):
        right[number] = _quietly(regression.set_params(C=1 / strength), *fitted_to).score(*held_out)
        best = right.max()
        if stop and right[number] < best - np.sqrt(best * (1 - best) / len(held_out[1])):
            break
    return right


def fit(features, labels, strength=1.0):
    """The probe, a scikit-learn pipeline, fitted to features [N, C] and labels [N] of at least two classes."""
    scaler = StandardScaler()
    return make_pipeline(scaler, _regression(strength, scaler.fit_transform(features), labels))


def _regression(strength, scaled, labels):
    return _quietly(LogisticRegression(C=1 / strength, max_iter=STEPS, tol=1e-3), scaled, labels)


def _quietly(regression, scaled, labels):
    with warnings.catch_warnings():
        # Nearly collapsed features never converge, and what so many steps reach is the figure all the same.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return regression.fit(scaled, labels)


def as_linear_layer(probe, num_classes):
    """A fitted probe as (kernel [C, num_classes], bias [num_classes]) on features that are not standardised.

    A class that it was not fitted to gets the least of the biases.
    """
    scaler, regression = probe
    weights, biases = regression.coef_, regression.intercept_  # [classes, C], [classes]
    if len(weights) == 1:  # two classes: the logit of the second
        weights, biases = (
            np.concatenate([-weights, weights]) / 2,
            np.concatenate([-biases, biases]) / 2,
        )
    weights = weights / scaler.scale_
    biases = biases - weights @ scaler.mean_
    kernel, bias = np.zeros((weights.shape[1], num_classes)), np.full(num_classes, biases.min())
    kernel[:, regression.classes_], bias[regression.classes_] = weights.T, biases
    return kernel.astype(np.float32), bias.astype(np.float32)
