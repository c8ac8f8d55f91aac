"""Which images are near-copies of which: crops, other brightness, other JPEG quality.

The network's features say which images may be copies of one another, their pixels whether they
are: the features of two pictures of the same kind are often as similar as those of a picture and
its crop.
"""

import dataclasses

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tf_simclr.curation import neighbors
from tf_simclr.curation.picture_match import ThumbnailsOf, aligned_similarity, rough_similarity

NUM_CANDIDATES = 10  # images that are compared with each image, those with the nearest features
# Both calibrated on planted copies of training images of CIFAR-10, see docs/labelling.md.
ROUGH_THRESHOLD = 0.7
THRESHOLD = 0.8
BLOCK = 4096  # pairs whose thumbnails are in memory


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of near-copies, the most similar first.

    Attributes:
        first: int64 [M], positions.
        second: int64 [M], positions.
        similarity: float32 [M], the correlation of the aligned pictures.
        skipped: pairs of similar features whose pictures were not compared, for their number.
    """

    first: np.ndarray
    second: np.ndarray
    similarity: np.ndarray
    skipped: int = 0

    def __len__(self):
        return len(self.similarity)

    def as_tuples(self) -> list[tuple[int, int, float]]:
        """[(first, second, similarity)]."""
        columns = self.first, self.second, self.similarity
        return list(zip(*(column.tolist() for column in columns)))


def no_pairs() -> Pairs:
    """No near-copy at all."""
    nobody = np.zeros(0, np.int64)
    return Pairs(nobody, nobody, np.zeros(0, np.float32))


def find(
    features: np.ndarray, thumbnails_of: ThumbnailsOf, nearest: np.ndarray | None = None
) -> Pairs:
    """The near-copies among some images, exact copies included.

    Args:
        features: [N, C].
        thumbnails_of: positions int64 [n] -> gray thumbnails uint8 [n, 32, 32]; it is called with
            few thousand at a time, ascending.
        nearest: int64 [N, NUM_CANDIDATES], the nearest others of each image where they are known,
            see `neighbors.nearest_others`; None: they are looked for.

    Returns:
        Pairs of positions, `first` below `second`.

    Raises:
        UserError: features that are not finite.
    """
    if len(features) < 2:
        return no_pairs()
    if nearest is None:
        unit = neighbors.unit_features(features)
        _, nearest = neighbors.nearest_others(unit, NUM_CANDIDATES)
    pairs = _as_pairs(nearest)
    ordered = np.unique(np.sort(pairs, 1), axis=0)
    return _verified(ordered, thumbnails_of, thumbnails_of)


def copies_of(
    queries: np.ndarray,
    query_thumbnails_of: ThumbnailsOf,
    features: np.ndarray,
    thumbnails_of: ThumbnailsOf,
    max_compared: int | None = None,
) -> Pairs:
    """The near-copies of few images among many.

    Args:
        queries: [Q, C], features of the few.
        query_thumbnails_of: as `thumbnails_of`, of the few.
        features: [N, C], of the many. One of the few that is among them is a copy of itself.
        thumbnails_of: see `find`.
        max_compared: pairs whose pixels are compared at most: those of each of the few and its
            nearest first, of these the most similar ones; None: all candidates.

    Returns:
        Pairs (position in the few, position in the many).

    Raises:
        UserError: features that are not finite.
    """
    unit, unit_queries = map(neighbors.unit_features, (features, queries))
    count = min(NUM_CANDIDATES, len(unit))
    if not count or not len(unit_queries):
        return no_pairs()
    similarity, candidates = neighbors.nearest(unit, unit_queries, count)
    is_candidate = candidates != neighbors.NOWHERE
    # Nearest first: else the ten copies of one image take the places of other images' only ones.
    _, rank = np.nonzero(is_candidate)
    order = np.lexsort((-similarity[is_candidate], rank))
    compared = np.sort(order[:max_compared])
    pairs = _as_pairs(candidates)[compared]
    copies = _verified(pairs, query_thumbnails_of, thumbnails_of)
    return dataclasses.replace(copies, skipped=len(order) - len(compared))


def group(num_images: int, pairs: Pairs) -> list[np.ndarray]:
    """Images that are near-copies of one another, directly or through others.

    Args:
        num_images: how many images there are.
        pairs: of `find`.

    Returns:
        Positions int64 [n] of each group of two or more, the largest first. In a group the
        representative comes first: the image with the most copies, of equals the lowest position.
    """
    edges = pairs.first, pairs.second
    shape = num_images, num_images
    graph = coo_array((np.ones(len(pairs)), edges), shape)
    _, component = connected_components(graph, directed=False)
    num_copies = np.bincount(np.concatenate(edges), minlength=num_images)
    order = np.lexsort((-num_copies, component))  # stable: of equals the lowest position
    starts = np.flatnonzero(np.diff(component[order])) + 1
    groups = [members for members in np.split(order, starts) if len(members) > 1]
    return sorted(groups, key=len, reverse=True)


def _as_pairs(candidates):
    """Candidates [N, k] of each position as pairs of positions [M, 2]."""
    first, column = np.nonzero(candidates != neighbors.NOWHERE)
    return np.stack([first, candidates[first, column]], 1)


def _verified(pairs, first_thumbnails_of, second_thumbnails_of):
    """Those of the pairs of positions [M, 2] whose pictures are copies."""
    verified, similarities = [pairs[:0]], [np.zeros(0, np.float32)]
    for start in range(0, len(pairs), BLOCK):
        block = pairs[start : start + BLOCK]
        first = _in_any_order(first_thumbnails_of, block[:, 0])
        second = _in_any_order(second_thumbnails_of, block[:, 1])
        is_close = rough_similarity(first, second) >= ROUGH_THRESHOLD
        similarity = aligned_similarity(first[is_close], second[is_close])
        is_copy = similarity >= THRESHOLD
        verified.append(block[is_close][is_copy])
        similarities.append(similarity[is_copy])
    first, second = np.concatenate(verified).T
    similarity = np.concatenate(similarities)
    order = np.lexsort((second, first, -similarity))
    return Pairs(first[order], second[order], similarity[order])


def _in_any_order(thumbnails_of, positions):
    """Thumbnails of positions that may be repeated, each made once."""
    unique, inverse = np.unique(positions, return_inverse=True)
    return thumbnails_of(unique)[inverse]
