"""Weighted k-nearest-neighbour classification of features (Wu et al. 2018)."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

from tf_simclr.evaluation.metrics.base import NotPossible, draw, normalized

NEIGHBORS = (1, 2, 5, 10, 20, 50, 100, 200)
TEMPERATURES = (0.05, 0.1, 0.2, 0.5)
QUERIES = 5000  # training examples that choose among them


def evaluate(train, test, options):
    """Each of the k most similar training examples votes with exp(cosine/temperature).

    Where `options` leave k or temperature open (0), they are chosen by how often training examples are classified right by the other
    training examples; of equals the smallest k, then the lowest temperature.

    Yields:
        knn_accuracy, and knn: which k and temperature.

    Raises:
        NotPossible: there are fewer training examples than k.
    """
    if options.knn_k > len(train):
        raise NotPossible(
            f"--knn_k={options.knn_k} neighbours are to vote, and there are {len(train)} training examples with a label"
        )
    index = NearestNeighbors(algorithm="brute").fit(normalized(train.features))
    k, temperature = _choose(index, train, options)
    yield "knn", {"k": k, "temperature": temperature}
    similarity, found = nearest(index, normalized(test.features), k)
    yield (
        "knn_accuracy",
        float(np.mean(vote(similarity, train.labels[found], temperature) == test.labels)),
    )


def nearest(index, queries, k):
    """(cosine [Q, k], row [Q, k]) of the k examples of `index` most similar to each of queries [Q, C]; all are of length 1."""
    distance, found = index.kneighbors(queries, k)
    return 1 - np.square(distance) / 2, found  # on the unit sphere d^2 = 2 - 2 cos


def nearest_others(index, features, rows, k):
    """As `nearest`, of examples that are in `index` themselves: features [rows] without the example itself."""
    similarity, found = nearest(index, features[rows], k + 1)
    others = found != rows[:, None]
    others[others.all(1), -1] = False  # where there are more equal ones than k
    return similarity[others].reshape(len(rows), k), found[others].reshape(len(rows), k)


def vote(similarity, labels, temperature):
    """The class with the most weight: similarity, labels [Q, k] of the neighbours -> [Q]; of equals the lower class."""
    count = int(labels.max()) + 1
    weight = np.exp(
        (similarity - similarity.max(1, keepdims=True)) / temperature
    )  # a common factor does not change the vote
    slots = np.arange(len(labels))[:, None] * count + labels
    return (
        np.bincount(slots.ravel(), weight.ravel(), len(labels) * count).reshape(-1, count).argmax(1)
    )


def _choose(index, train, options):
    ks = [options.knn_k] if options.knn_k else [k for k in NEIGHBORS if k < len(train)] or [1]
    temperatures = [options.knn_temperature] if options.knn_temperature else TEMPERATURES
    if len(ks) == len(temperatures) == 1 or ks[-1] >= len(train):
        return ks[0], temperatures[0]
    rows = draw(len(train), QUERIES)
    similarity, found = nearest_others(index, normalized(train.features), rows, ks[-1])
    right = [
        (
            np.mean(vote(similarity[:, :k], train.labels[found[:, :k]], t) == train.labels[rows]),
            -k,
            -t,
        )
        for k in ks
        for t in temperatures
    ]
    _, k, temperature = max(right)
    return -k, -temperature
