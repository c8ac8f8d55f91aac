"""The most typical image of each of the largest clusters without a label (TypiClust)."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

from tf_simclr.curation.selection.base import Pool, Selection
from tf_simclr.curation.selection.clustering import kmeans
from tf_simclr.evaluation.metrics.base import draw
from tf_simclr.evaluation.metrics.knn import nearest_others

MAX_CLUSTERS = 500
SMALLEST_CLUSTER = 5  # smaller ones are left out, as long as there are others
NUM_NEIGHBORS = 20
MAX_QUERIES = 5000  # images of a cluster whose typicality is computed
SMALLEST_DISTANCE = 1e-6  # of copies


def select(pool: Pool, count: int, seed: int) -> Selection:
    """Takes the most typical image of clusters, those with the fewest labels and the largest first.

    There are as many clusters as images that are labeled or to be labeled, so that most of them
    have no label.

    Source: Hacohen et al. 2022 (Active learning on a budget: opposite strategies suit high and low
    budgets), algorithm 1 and section 3.2.

    Args:
        pool: all images.
        count: how many.
        seed: of the clustering.
    """
    num_clusters = min(pool.num_labeled + count, MAX_CLUSTERS, len(pool))
    clusters, _ = kmeans(pool.features, num_clusters, seed)
    is_free = pool.is_candidate.copy()
    index = []
    for group in _ordered_clusters(pool, clusters):
        while len(index) < count and is_free[np.isin(clusters, group)].any():
            for number in group:
                members = np.flatnonzero((clusters == number) & is_free)
                if len(members) and len(index) < count:
                    chosen = members[typicality(pool.features[members], seed).argmax()]
                    is_free[chosen] = False
                    index.append(chosen)
    index = np.array(index)
    reasons = [_reason(pool, clusters == number) for number in clusters[index]]
    return Selection(index, clusters[index], tuple(reasons))


def typicality(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """How typical images are of their cluster: 1 / mean distance to the nearest others.

    Source: Hacohen et al. 2022, equation 1.

    Args:
        features: [N, C] of the images of a cluster.
        seed: of a draw of `MAX_QUERIES` images, which alone are looked at where there are more.

    Returns:
        float64 [N]; 0 of images that were not drawn.
    """
    num_neighbors = min(NUM_NEIGHBORS, len(features) - 1)
    if not num_neighbors:
        return np.ones(len(features))
    index = NearestNeighbors(algorithm="brute").fit(features)
    queries = draw(len(features), MAX_QUERIES, seed)
    cosine, _ = nearest_others(index, features, queries, num_neighbors)
    distance = np.sqrt(np.maximum(2 - 2 * cosine, 0)).mean(1)
    scores = np.zeros(len(features))
    scores[queries] = 1 / np.maximum(distance, SMALLEST_DISTANCE)
    return scores


def _ordered_clusters(pool, clusters):
    """The clusters in the order in which they give an image each: the large ones, then others.

    First those with the fewest labels, of these the largest.
    """
    sizes = np.bincount(clusters)
    num_labeled = np.bincount(clusters[pool.is_labeled], minlength=len(sizes))
    order = np.lexsort((-sizes, num_labeled))
    is_large = sizes[order] >= SMALLEST_CLUSTER
    return order[is_large], order[~is_large]


def _reason(pool, is_member):
    num_labeled = pool.is_labeled[is_member].sum()
    return f"typical of {is_member.sum()} images that are alike, {num_labeled} of them labeled"
