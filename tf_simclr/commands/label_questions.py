"""Images to label as questions of a page: large, beside the images most like them."""

import dataclasses
import itertools

import numpy as np
from sklearn.neighbors import NearestNeighbors

from tf_simclr.commands.image_set import ImageSet, decoded
from tf_simclr.curation import near_copies, picture_match
from tf_simclr.curation.selection import Selection
from tf_simclr.data import thumbnails
from tf_simclr.data.source import UNLABELED, Source
from tf_simclr.evaluation.metrics import knn
from tf_simclr.evaluation.metrics.base import draw, normalized
from tf_simclr.report.label_page import Neighbor, Question

NUM_NEIGHBORS = 8  # beside each image
IMAGE_SIZE = 512  # pixels of the longer side
NEIGHBOR_SIZE = 96
WHY_EVALUATED = "drawn at random to evaluate on: says how good a classifier is"


def of_selection(
    images: ImageSet, selection: Selection, may_be_labeled: np.ndarray
) -> list[Question]:
    """The questions of images that were chosen to be labeled.

    Args:
        images: of which some were chosen.
        selection: which.
        may_be_labeled: bool [N], which images may stand beside another, to be labeled with it.
    """
    is_unlabeled = images.labels == UNLABELED
    neighbors = _nearest(images.features, selection.index, may_be_labeled & is_unlabeled)
    positions = np.unique(np.concatenate([selection.index, neighbors.ravel()]))
    encoded, gray = {}, {}
    for position, image in images.images(positions):
        if min(image.shape[:2]) >= picture_match.MIN_IMAGE_SIDE:
            gray[position] = picture_match.gray_thumbnail(image)
        small = thumbnails.encode(image, NEIGHBOR_SIZE)
        is_large = position in selection.index
        encoded[position] = thumbnails.encode(image, IMAGE_SIZE) if is_large else small, small
    look_alike = _near_copies(images.features, selection.index, np.unique(neighbors), gray)
    questions = []
    for order, index in enumerate(selection.index):
        beside = tuple(
            Neighbor(
                name=str(images.names[position]),
                image=encoded[position][1],
                looks_same=(index, position) in look_alike,
            )
            for position in neighbors[order]
        )
        question = Question(
            name=str(images.names[index]),
            image=encoded[index][0],
            why=selection.reasons[order],
            cluster=int(selection.clusters[order]),
            neighbors=beside,
        )
        questions.append(question)
    return questions


def _near_copies(features, queries, others, gray):
    """{(query, other)} of the near-copies among images; small ones have too few details for it.

    Args:
        features: float32 [N, C].
        queries: int64 [Q], positions.
        others: int64 [M], positions.
        gray: {position: thumbnail} of the images that are large enough.
    """
    queries, others = (
        np.array([p for p in index if p in gray], int) for index in (queries, others)
    )
    if not (len(queries) and len(others)):
        return set()

    def thumbnails_of(positions):
        return lambda numbers: np.stack([gray[position] for position in positions[numbers]])

    pairs = near_copies.copies_of(
        features[queries], thumbnails_of(queries), features[others], thumbnails_of(others)
    )
    return set(zip(queries[pairs.first], others[pairs.second]))


def _nearest(features, queries, may_be_beside):
    """int64 [Q, k]: the images most like each query that may stand beside it."""
    others = np.flatnonzero(may_be_beside)
    count = min(NUM_NEIGHBORS, len(others) - 1)
    if count < 1:
        return np.zeros([len(queries), 0], np.int64)
    unit = normalized(features[others])
    index = NearestNeighbors(algorithm="brute").fit(unit)
    _, neighbors = knn.nearest_others(index, unit, np.searchsorted(others, queries), count)
    return others[neighbors]


@dataclasses.dataclass(frozen=True)
class EvaluationDraw:
    """Images drawn at random from sources.

    Attributes:
        sources: they are drawn from.
        index: of each source, int64 [n] ascending.
    """

    sources: tuple[Source, ...]
    index: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, sources: list[Source], count: int, seed: int) -> "EvaluationDraw":
        """Draws at most `count` images."""
        ends = list(itertools.accumulate(source.num_examples for source in sources))
        drawn = draw(ends[-1], count, seed) if ends else np.zeros(0, np.int64)
        starts = [0, *ends[:-1]]
        index = tuple(
            drawn[(drawn >= start) & (drawn < end)] - start for start, end in zip(starts, ends)
        )
        return cls(tuple(sources), index)

    @property
    def num_images(self) -> int:
        """How many were drawn."""
        return sum(map(len, self.index))


def of_draw(drawn: EvaluationDraw) -> list[Question]:
    """The questions of images to evaluate on; nothing stands beside them, to be trained on."""
    questions = []
    for source, index in zip(drawn.sources, drawn.index):
        for name, picture in zip(source.names_of(index), decoded(source, index)):
            image = thumbnails.encode(picture, IMAGE_SIZE)
            questions.append(Question(name, image, WHY_EVALUATED, cluster=-1))
    return questions
