"""Features with few numbers of one byte, for the search in a page."""

import dataclasses

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from tf_simclr.evaluation.metrics import knn
from tf_simclr.evaluation.metrics.base import draw, normalized

MAX_DIMENSIONS = 64
LARGEST = 127  # of int8
NUM_COMPARED = 500  # images whose neighbors are compared
NUM_NEIGHBORS = 10
SMALLEST_STEP = 1e-6  # of images that are all the same


@dataclasses.dataclass(frozen=True)
class CompactFeatures:
    """Features whose distances are nearly those of the features that they were made of.

    Attributes:
        values: int8 [N, D].
        rests: int64 [N], the squared length of what `values` leave out, in steps x steps.
        step: the size of one unit of `values`.
    """

    values: np.ndarray
    rests: np.ndarray
    step: float


def compact(features: np.ndarray) -> CompactFeatures:
    """The first principal components of features on the unit sphere, in steps of one size.

    The squared distance of two images is that of their components, plus both rests: what is left
    out of two images has nearly no direction in common.

    Args:
        features: [N, C], finite.
    """
    unit = normalized(features).astype(np.float32)
    num_dimensions = min(MAX_DIMENSIONS, *unit.shape)
    pca = PCA(num_dimensions, svd_solver="randomized", random_state=0)
    with np.errstate(invalid="ignore"):  # equal images have no variance to divide by
        components = pca.fit_transform(unit) if len(unit) > 1 else np.zeros([1, 1])
    step = max(float(np.abs(components).max()) / LARGEST, SMALLEST_STEP)
    values = np.rint(components / step).astype(np.int8)
    lengths = np.square(unit - unit.mean(0)).sum(1)
    rests = np.maximum(lengths - np.square(components).sum(1), 0)
    return CompactFeatures(values, np.rint(rests / step**2).astype(np.int64), step)


def agreement(features: np.ndarray, compact_features: CompactFeatures) -> float:
    """The share of the nearest neighbors by all features that are so by the compact ones too.

    Args:
        features: [N, C].
        compact_features: made of them.
    """
    count = min(NUM_NEIGHBORS, len(features) - 1)
    if count < 1:
        return 1.0
    unit = normalized(features)
    queries = draw(len(features), NUM_COMPARED)
    index = NearestNeighbors(algorithm="brute").fit(unit)
    _, neighbors = knn.nearest_others(index, unit, queries, count)
    nearest = _nearest(compact_features, queries, count)
    num_common = [len(np.intersect1d(*pair)) for pair in zip(neighbors, nearest)]
    return float(np.mean(num_common)) / count


def _nearest(compact_features, queries, count):
    """int64 [Q, count]: the nearest others of some images, in no order."""
    values = compact_features.values.astype(np.float32)
    squares = np.square(values).sum(1) + compact_features.rests
    distances = squares - 2 * values[queries] @ values.T  # but for what is the same in a row
    distances[np.arange(len(queries)), queries] = np.inf
    return np.argpartition(distances, count - 1, axis=1)[:, :count]
