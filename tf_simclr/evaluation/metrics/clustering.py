"""k-means on the features: do its clusters look like the classes?"""

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from tf_simclr.evaluation.metrics.base import MAX_EXAMPLES, NotPossible, normalized

STARTS = 3


def evaluate(train, test, options):
    """As many clusters as there are classes, of the normalised test features; of three seeded starts the closest fit.

    Yields:
        clustering_nmi (arithmetic mean), clustering_ari, clustering_accuracy (Hungarian matching of clusters and classes). At most 10,000
        examples, a seeded draw.

    Raises:
        NotPossible: fewer than two classes.
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
    found = KMeans(len(classes), n_init=STARTS, random_state=0).fit_predict(features)
    yield "clustering_nmi", float(normalized_mutual_info_score(labels, found))
    yield "clustering_ari", float(adjusted_rand_score(labels, found))
    yield "clustering_accuracy", matched_accuracy(labels, found)


def matched_accuracy(labels, clusters):
    """Accuracy where each cluster stands for one class, as well as that can be: labels, clusters int [N] -> float."""
    count = max(labels.max(), clusters.max()) + 1
    together = np.bincount(labels * count + clusters, minlength=count * count).reshape(count, count)
    return float(together[linear_sum_assignment(together, maximize=True)].sum() / len(labels))
