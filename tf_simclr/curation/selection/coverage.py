"""Images that leave no other image far from one with a label (k-center)."""

import numpy as np
from sklearn.metrics import pairwise_distances_argmin_min

from tf_simclr.curation.selection.base import Pool, Selection


def select(pool: Pool, count: int, seed: int) -> Selection:
    """Takes the image farthest from all that are labeled or chosen, again and again.

    Without any label the first is the one nearest to the mean of all.

    Source: Sener and Savarese 2018 (Active learning for convolutional neural networks: a core-set
    approach), algorithm 1.

    Args:
        pool: all images.
        count: how many.
        seed: not used, nothing is drawn.
    """
    distance = _distance_to_labeled(pool)  # [N]
    index, reasons = [], []
    while len(index) < count:
        candidates = np.where(pool.is_candidate, distance, -np.inf)
        if index:
            candidates[index] = -np.inf
        chosen = int(candidates.argmax())
        reasons.append(_reason(distance[chosen]))
        index.append(chosen)
        distance = np.minimum(distance, _distance(pool.features, pool.features[chosen]))
    return Selection(np.array(index), np.full(count, -1), tuple(reasons))


def _reason(distance):
    if np.isfinite(distance):
        return f"far from every labeled image, distance {distance:.2f}"
    return "nearest to the mean of all images"


def _distance_to_labeled(pool):
    """Of each image to the nearest that is labeled; without any, infinite where a start is due."""
    labeled = pool.features[pool.is_labeled]
    if len(labeled):
        _, distance = pairwise_distances_argmin_min(pool.features, labeled)
        return distance
    from_mean = _distance(pool.features, pool.features.mean(0))
    central = np.where(pool.is_candidate, from_mean, np.inf).argmin()
    distance = np.full(len(pool), np.finfo(np.float32).max)
    distance[central] = np.inf
    return distance


def _distance(features, point):
    """Euclidean, of features [N, C] from a point [C]."""
    squares = np.einsum("nc,nc->n", features, features) - 2 * features @ point + point @ point
    return np.sqrt(np.maximum(squares, 0))
