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
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, tol=1e-3))
    with warnings.catch_warnings():
        # Nearly collapsed features never converge, and what 200 steps reach is the figure all the same.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(train["final_avg_pool"], train["label"])
    yield "linear_probe_accuracy", float(probe.score(test["final_avg_pool"], test["label"]))
