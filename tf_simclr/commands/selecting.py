"""Chooses images to label by what a network makes of them."""

import dataclasses

import numpy as np
from absl import logging
from scipy.special import softmax

from tf_simclr.commands.image_set import ImageSet
from tf_simclr.config.automatic import AUTO
from tf_simclr.curation import selection
from tf_simclr.curation.selection import NotSelectable, Pool, Selection
from tf_simclr.data import copies
from tf_simclr.data.source import UNLABELED, Indexed, counted
from tf_simclr.errors import UserError
from tf_simclr.evaluation.metrics.base import normalized

BLOCK = 10_000  # images whose features are normalized at a time


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
        features=_unit_features(images.features),
        is_labeled=is_labeled,
        is_excluded=~may_be_labeled | _copies(images, is_labeled),
        probabilities=None if images.logits is None else softmax(images.logits, 1),
    )
    strategy, reason = request.strategy, "as --select_strategy says"
    if strategy == AUTO:
        num_classes = len(images.class_names)
        if images.logits is not None:
            num_classes = max(num_classes, images.logits.shape[1])
        strategy, reason = selection.automatic_strategy(pool, num_classes)
    try:
        chosen = selection.select(strategy, pool, request.count, request.seed)
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


def _unit_features(features):
    """The features at length 1, normalized in blocks, since many of them are large."""
    blocks = [features[start : start + BLOCK] for start in range(0, len(features), BLOCK)]
    return np.concatenate([normalized(block) for block in blocks])


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
