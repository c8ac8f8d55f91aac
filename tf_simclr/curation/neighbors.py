"""Nearest neighbors on the unit sphere: exact for few images, within cells for many."""

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.neighbors import NearestNeighbors

from tf_simclr.errors import UserError
from tf_simclr.evaluation.metrics import knn
from tf_simclr.evaluation.metrics.base import draw, normalized

MAX_EXACT = 20_000  # images among which neighbors are looked for exactly
NUM_PROBES = 8  # cells in which the neighbors of an image are looked for
NOWHERE = -1  # the position of a neighbor that there is not


def unit_features(features: np.ndarray) -> np.ndarray:
    """Features [N, C] at length 1.

    Raises:
        UserError: some of them are not finite.
    """
    is_finite = np.isfinite(features).all(1)
    if not is_finite.all():
        raise UserError(
            f"the network's features of {np.sum(~is_finite)} of {len(features)} images are not "
            f"finite, the first one's number is {np.argmin(is_finite)}; give the weights of a run "
            "that has not diverged as --checkpoint or --model_dir"
        )
    return normalized(features.astype(np.float32, copy=False))


def nearest(unit: np.ndarray, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The images that are most similar to each query.

    Above MAX_EXACT images they are divided into cells by k-means, and those of a query are looked
    for in the cells nearest to it (inverted file index, Sivic and Zisserman 2003). Those that are
    not near are missed at times, near-copies hardly ever.

    Args:
        unit: float32 [N, C], of length 1.
        queries: float32 [Q, C], of length 1.
        count: how many neighbors, at most N.

    Returns:
        (cosine [Q, count], position [Q, count]), the most similar first; NOWHERE where the cells
        have fewer.
    """
    if len(unit) <= MAX_EXACT:
        index = NearestNeighbors(algorithm="brute").fit(unit)
        return knn.nearest(index, queries, count)
    return _nearest_in_cells(unit, queries, count)


def nearest_others(unit: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """As `nearest`, of each image among all others.

    Args:
        unit: float32 [N, C], of length 1.
        count: how many neighbors; there are at most N - 1.
    """
    count = min(count, len(unit) - 1)
    return knn.without_queries(*nearest(unit, unit, count + 1), np.arange(len(unit)))


def _nearest_in_cells(unit, queries, count):
    num_cells = round(np.sqrt(len(unit)))
    sample = unit[draw(len(unit), MAX_EXACT)]
    kmeans = MiniBatchKMeans(num_cells, n_init=1, random_state=0).fit(sample)
    centers = NearestNeighbors(algorithm="brute").fit(kmeans.cluster_centers_)
    cell_of = centers.kneighbors(unit, 1, return_distance=False)[:, 0]
    probes = centers.kneighbors(queries, NUM_PROBES, return_distance=False)  # [Q, P]
    similarity = np.full([*probes.shape, count], -np.inf, np.float32)
    positions = np.full([*probes.shape, count], NOWHERE)
    for cell in range(num_cells):
        members = np.flatnonzero(cell_of == cell)
        query, probe = np.nonzero(probes == cell)
        if len(members) and len(query):
            index = NearestNeighbors(algorithm="brute").fit(unit[members])
            number = min(count, len(members))
            cosines, neighbors = knn.nearest(index, queries[query], number)
            similarity[query, probe, :number] = cosines
            positions[query, probe, :number] = members[neighbors]
    similarity = similarity.reshape(len(queries), -1)
    order = np.argsort(-similarity, 1)[:, :count]
    positions = np.take_along_axis(positions.reshape(len(queries), -1), order, 1)
    return np.take_along_axis(similarity, order, 1), positions
