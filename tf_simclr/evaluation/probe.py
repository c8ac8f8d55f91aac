"""Linear probe: logistic regression on fixed features."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def evaluate(train, test, options):
    """Yields linear_probe_accuracy: logistic regression (L2, C = 1, up to 200 steps of L-BFGS) on standardised features.

    Args:
        train, test: {"final_avg_pool": [N, C], "label": [N]}.
    """
    if len(np.unique(train["label"])) < 2:
        return  # nothing to tell apart
    yield "linear_probe_accuracy", float(fit(train["final_avg_pool"], train["label"]).score(test["final_avg_pool"], test["label"]))


def fit(features, labels):
    """The probe, a scikit-learn pipeline, fitted to features [N, C] and labels [N] of at least two classes."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, tol=1e-3))
    with warnings.catch_warnings():
        # Nearly collapsed features never converge, and what 200 steps reach is the figure all the same.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return probe.fit(features, labels)


def as_linear_layer(probe, num_classes):
    """A fitted probe as (kernel [C, num_classes], bias [num_classes]) on features that are not standardised.

    A class that it was not fitted to gets the least of the biases.
    """
    scaler, regression = probe
    weights, biases = regression.coef_, regression.intercept_  # [classes, C], [classes]
    if len(weights) == 1:  # two classes: the logit of the second
        weights, biases = np.concatenate([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
    weights = weights / scaler.scale_
    biases = biases - weights @ scaler.mean_
    kernel, bias = np.zeros((weights.shape[1], num_classes)), np.full(num_classes, biases.min())
    kernel[:, regression.classes_], bias[regression.classes_] = weights.T, biases
    return kernel.astype(np.float32), bias.astype(np.float32)
