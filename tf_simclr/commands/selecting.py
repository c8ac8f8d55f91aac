"""Chooses images to label by what a network makes of them."""

import dataclasses

import numpy as np
from absl import logging
from scipy.special import softmax

from tf_simclr.commands.image_set import ImageSet
from tf_simclr.config.automatic import AUTO
from tf_simclr.curation import near_copies, picture_match, selection
from tf_simclr.curation.selection import NotSelectable, Pool, Selection
from tf_simclr.data import copies
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.source import UNLABELED, counted
from tf_simclr.errors import UserError
from tf_simclr.evaluation.metrics.base import by_blocks, normalized

MAX_ATTEMPTS = 10  # to choose no near-copies


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be chosen.

    Attributes:
        count: how many images.
        strategy: as --select_strategy.
        seed: of draws and clusterings.
    """

    count: int
    strategy: str
    seed: int


def choose(images: ImageSet, may_be_labeled: np.ndarray, request: Request) -> Selection:
    """Chooses images to label.

    Args:
        images: those with a label have been labeled.
        may_be_labeled: bool [N], which of the others may be chosen.
        request: how many, and how.

    Raises:
        UserError: there is nothing to choose from, or the strategy lacks something.
    """
    is_labeled = images.labels != UNLABELED
    pool = Pool(
        features=normalized(images.features),
        is_labeled=is_labeled,
        is_excluded=~may_be_labeled | _copies(images, is_labeled),
        probabilities=None if images.logits is None else _probabilities(images.logits),
    )
    strategy, reason = request.strategy, "as --select_strategy says"
    if strategy == AUTO:
        num_classes = len(images.class_names)
        if images.logits is not None:
            num_classes = max(num_classes, images.logits.shape[1])
        strategy, reason = selection.automatic_strategy(pool, num_classes)
    try:
        chosen = _select_without_near_copies(images, pool, strategy, request)
    except NotSelectable as error:
        raise UserError(f"--select_count={request.count}: {error}") from None
    logging.info(
        "%s of %d chosen to label, strategy %s: %s",
        counted(len(chosen.index), "image"),
        pool.is_candidate.sum(),
        strategy,
        reason,
    )
    return chosen


def _select_without_near_copies(images, pool, strategy, request):
    """Selects again as long as near-copies are among what is selected."""
    num_copies = 0
    for _ in range(MAX_ATTEMPTS):
        chosen = selection.select(strategy, pool, request.count, request.seed)
        copies_of_others = _near_copies(images, pool, chosen)
        if not len(copies_of_others):
            break
        num_copies += len(copies_of_others)
        pool = pool.excluding(copies_of_others)
    if num_copies:
        text = counted(num_copies, "image")
        logging.info("%s would be near-copies of labeled or chosen ones: not asked for", text)
    return chosen


def _near_copies(images, pool, chosen):
    """Positions of chosen images that are near-copies of a labeled one or of one chosen before."""
    positions = np.sort(chosen.index)
    # One after the other: all of them at full size may be more than the memory.
    smallest_side = min(min(picture.shape[:2]) for _, picture in images.images(positions))
    if smallest_side < picture_match.MIN_IMAGE_SIDE:
        return np.zeros(0, np.int64)
    others = np.union1d(positions, np.flatnonzero(pool.is_labeled))
    pairs = near_copies.copies_of(
        pool.features[positions],
        _thumbnails(images, positions),
        pool.features[others],
        _thumbnails(images, others),
    )
    rank = {position: number for number, position in enumerate(chosen.index)}
    is_copy = set()
    for query, other in zip(positions[pairs.first], others[pairs.second]):
        if rank.get(other, -1) < rank[query]:  # a labeled one comes before all
            is_copy.add(query)
    return np.array(sorted(is_copy), np.int64)


def _thumbnails(images, positions):
    """The gray thumbnails of images at ascending positions, by their numbers among these."""

    def thumbnails_of(numbers):
        pictures = images.images(positions[numbers])
        return np.stack([picture_match.gray_thumbnail(picture) for _, picture in pictures])

    return thumbnails_of


def _probabilities(logits):
    return by_blocks(lambda block: softmax(block, 1), logits)


def _copies(images, is_labeled):
    """Which images are exact copies of others: of each content one may be chosen at most."""
    (source,) = images.sources
    if not isinstance(source, Indexed):
        return np.zeros(len(images), bool)
    is_copy = copies.duplicates(source, is_labeled)
    if is_copy.any():
        logging.info(
            "%s are exact copies of others: not asked for", counted(is_copy.sum(), "image")
        )
    return is_copy
