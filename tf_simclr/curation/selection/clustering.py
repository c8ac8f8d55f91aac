"""k-means."""

import warnings

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

# More products in one pass go through batches, as in Hacohen et al. 2022 above 50 clusters.
MAX_EXACT_PRODUCTS = 5e8
BATCH_SIZE = 5000


def kmeans(
    features: np.ndarray, num_clusters: int, seed: int, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Clusters by k-means.

    Args:
        features: float32 [N, C].
        num_clusters: how many, at most N; images that are all alike make fewer.
        seed: of the start.
        weights: [N], how much each counts, at least 0; None: all the same.

    Returns:
        (int64 [N], number of each image's cluster; float32 [num_clusters, C], the centers).
    """
    is_exact = features.size * num_clusters <= MAX_EXACT_PRODUCTS
    if is_exact:
        method = KMeans(num_clusters, n_init=1, random_state=seed)
    else:
        method = MiniBatchKMeans(num_clusters, batch_size=BATCH_SIZE, n_init=1, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer clusters than asked for
        clusters = method.fit_predict(features, sample_weight=weights)
    return clusters.astype(np.int64), method.cluster_centers_
