"""Weighted k-nearest-neighbour classification of features (Wu et al. 2018)."""

import numpy as np
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize


def evaluate(train, test, options):
    """Yields knn_accuracy: each of the k most similar training examples votes with exp(cosine/temperature).

    Args:
        train, test: {"final_avg_pool": [N, C], "label": [N]}. options: the eval section of the configuration.
    """
    vote = KNeighborsClassifier(
        min(options.knn_k, len(train["label"])), algorithm="brute",
        # On the unit sphere d^2 = 2 - 2 cos; the constant factor does not change the vote.
        weights=lambda distance: np.exp(-np.square(distance) / (2 * options.knn_temperature)))
    vote.fit(normalize(train["final_avg_pool"]), train["label"])
    yield "knn_accuracy", float(vote.score(normalize(test["final_avg_pool"]), test["label"]))
