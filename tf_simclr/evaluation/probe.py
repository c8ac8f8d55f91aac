"""Linear probe: logistic regression on fixed features."""

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def evaluate(train, test, options):
    """Yields linear_probe_accuracy: logistic regression (L2, C = 1) on standardised features.

    Args:
        train, test: {"final_avg_pool": [N, C], "label": [N]}.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, tol=1e-3))
    probe.fit(train["final_avg_pool"], train["label"])
    yield "linear_probe_accuracy", float(probe.score(test["final_avg_pool"], test["label"]))
