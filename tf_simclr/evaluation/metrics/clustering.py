"""k-means on the features: how well clusters and classes agree."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from tf_simclr.evaluation.metrics.base import MAX_EXAMPLES, Metric, NotPossible, normalized

NUM_STARTS = 3


def evaluate(train, test, options):
    """As many clusters as there are classes, of the normalized test features.

    Of three seeded starts the closest fit counts, on a seeded draw of at most 10,000 examples.

    Yields:
        clustering_nmi (arithmetic mean), clustering_ari, clustering_accuracy (Hungarian matching
        of clusters and classes).

    Raises:
        NotPossible: fewer than two classes, or fewer different features than classes.
    """
    test = test.drawn(MAX_EXAMPLES)
    classes, labels = np.unique(test.labels, return_inverse=True)
    if len(classes) < 2:
        raise NotPossible("the test examples are of one class only")
    features = normalized(test.features)
    if len(np.unique(features, axis=0)) < len(classes):
        raise NotPossible(
            f"there are fewer than {len(classes)} different features, one for each class"
        )
    kmeans = KMeans(len(classes), n_init=NUM_STARTS, random_state=0)
    clusters = kmeans.fit_predict(features)
    yield Metric("clustering_nmi", normalized_mutual_info_score(labels, clusters))
    yield Metric("clustering_ari", adjusted_rand_score(labels, clusters))
    yield Metric("clustering_accuracy", matched_accuracy(labels, clusters))


def matched_accuracy(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Accuracy where each cluster stands for one class, under the best matching of the two.

    Args:
        labels: int [N].
        clusters: int [N].
    """
    count = max(labels.max(), clusters.max()) + 1
    pairs = np.bincount(labels * count + clusters, minlength=count * count)
    contingency = pairs.reshape(count, count)
    matching = linear_sum_assignment(contingency, maximize=True)
    return float(contingency[matching].sum() / len(labels))
