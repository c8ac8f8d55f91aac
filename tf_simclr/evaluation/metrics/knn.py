"""Weighted k-nearest-neighbor classification of features (Wu et al. 2018)."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

from tf_simclr.config.evaluation_sections import EvalConfig
from tf_simclr.evaluation.metrics.base import (
    Detail,
    Examples,
    Metric,
    NotPossible,
    by_blocks,
    draw,
    normalized,
)

CHOICES_OF_K = (1, 2, 5, 10, 20, 50, 100, 200)
TEMPERATURES = (0.05, 0.1, 0.2, 0.5)
MAX_QUERIES = 5000  # training examples that choose among them


def evaluate(train, test, options):
    """Each of the k most similar training examples votes with exp(cosine/temperature).

    Where the options leave k or temperature open (0), they are chosen by how often training
    examples are classified right by the other training examples; of equals the smallest k, then
    the lowest temperature.

    Yields:
        knn_accuracy, and knn: which k and temperature.

    Raises:
        NotPossible: there are fewer training examples than k.
    """
    k, temperature, predicted = _predict(train, test.features, options)
    yield Detail("knn", {"k": k, "temperature": temperature})
    yield Metric("knn_accuracy", np.mean(predicted == test.labels))


def predict(train: Examples, features: np.ndarray, options: EvalConfig) -> np.ndarray:
    """The classes int64 [N] of features [N, C], as `evaluate` predicts them.

    Args:
        train: the training examples, all with a label.
        features: of the images to classify.
        options: with knn_k and knn_temperature.

    Raises:
        NotPossible: there are fewer training examples than k.
    """
    _, _, predicted = _predict(train, features, options)
    return predicted


def _predict(train, features, options):
    """(k, temperature, predicted classes)."""
    if options.knn_k > len(train):
        raise NotPossible(
            f"--knn_k={options.knn_k} neighbors are to vote, and there are {len(train)} training "
            "examples with a label"
        )
    index = NearestNeighbors(algorithm="brute").fit(normalized(train.features))
    k, temperature = _choose(index, train, options)
    similarity, neighbors = nearest(index, normalized(features), k)
    return k, temperature, vote(similarity, train.labels[neighbors], temperature)


def nearest(index: NearestNeighbors, queries: np.ndarray, k: int):
    """The k examples that are most similar to each query.

    Args:
        index: fitted to features [N, C] of length 1.
        queries: [Q, C], of length 1.
        k: how many.

    Returns:
        (cosine [Q, k], position in the index [Q, k]).
    """
    distance, neighbors = index.kneighbors(queries, k)
    return 1 - np.square(distance) / 2, neighbors  # on the unit sphere d^2 = 2 - 2 cos


def nearest_others(index: NearestNeighbors, features: np.ndarray, positions: np.ndarray, k: int):
    """As `nearest`, for examples that are in `index` themselves, without the example itself.

    Args:
        index: fitted to `features`.
        features: [N, C], of length 1.
        positions: int64 [Q], which of them are the queries.
        k: how many.
    """
    return without_queries(*nearest(index, features[positions], k + 1), positions)


def without_queries(similarity: np.ndarray, neighbors: np.ndarray, positions: np.ndarray):
    """Of k + 1 neighbors of each query the k that are not the query itself.

    Args:
        similarity: [Q, k + 1].
        neighbors: [Q, k + 1], positions, the most similar first.
        positions: int64 [Q] of the queries.

    Returns:
        (similarity [Q, k], position [Q, k]).
    """
    is_other = neighbors != positions[:, None]
    # Where more than k examples are equal to the query, it need not be among them.
    is_other[is_other.all(1), -1] = False
    shape = (len(positions), neighbors.shape[1] - 1)
    return similarity[is_other].reshape(shape), neighbors[is_other].reshape(shape)


def vote(similarity: np.ndarray, labels: np.ndarray, temperature: float) -> np.ndarray:
    """The class with the most weight; of equals the lower class.

    Args:
        similarity: [Q, k] of the neighbors.
        labels: int64 [Q, k] of the neighbors.
        temperature: of the weights exp(similarity/temperature).

    Returns:
        int64 [Q].
    """
    num_classes = int(labels.max()) + 1

    def winners(queries):
        return _vote(similarity[queries], labels[queries], temperature, num_classes)

    return by_blocks(winners, np.arange(len(labels)))


def _vote(similarity, labels, temperature, num_classes):
    # A common factor does not change the vote.
    shifted = similarity - similarity.max(1, keepdims=True)
    weight = np.exp(shifted / temperature)
    cells = np.arange(len(labels))[:, None] * num_classes + labels  # [Q, k]
    totals = np.bincount(cells.ravel(), weight.ravel(), len(labels) * num_classes)
    return totals.reshape(-1, num_classes).argmax(1)


def _choose(index, train, options):
    """(k, temperature)."""
    possible = [k for k in CHOICES_OF_K if k < len(train)] or [1]
    ks = [options.knn_k] if options.knn_k else possible
    temperatures = [options.knn_temperature] if options.knn_temperature else TEMPERATURES
    nothing_to_choose = len(ks) == len(temperatures) == 1
    if nothing_to_choose or ks[-1] >= len(train):
        return ks[0], temperatures[0]
    queries = draw(len(train), MAX_QUERIES)
    features = normalized(train.features)
    similarity, neighbors = nearest_others(index, features, queries, ks[-1])
    best = None
    for k in ks:
        neighbor_labels = train.labels[neighbors[:, :k]]
        for temperature in temperatures:
            predicted = vote(similarity[:, :k], neighbor_labels, temperature)
            accuracy = np.mean(predicted == train.labels[queries])
            candidate = (accuracy, -k, -temperature)
            best = candidate if best is None else max(best, candidate)
    _, negative_k, negative_temperature = best
    return -negative_k, -negative_temperature
