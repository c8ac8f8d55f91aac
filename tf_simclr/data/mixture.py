"""Labeled and unlabeled images in one batch: which sources, and how many images of each."""

import dataclasses

import numpy as np

from tf_simclr.config.values import MAX_INT32
from tf_simclr.data.source import Source
from tf_simclr.errors import UserError


@dataclasses.dataclass(frozen=True)
class BatchPart:
    """A number of images of one source in every batch.

    Attributes:
        source: of the images.
        batch_size: how many, over all replicas.
        constants: what was computed of each example before the training, [N, ...]; None: nothing.
    """

    source: Source
    batch_size: int
    constants: np.ndarray | None = None


def batch_parts(
    source: Source, unlabeled: Source | None, ratio: float, batch_size: int, replicas: int
) -> list[BatchPart]:
    """The parts that every batch is made of.

    Args:
        source: labeled images, or some with and some without label.
        unlabeled: further images without label, or None.
        ratio: images without label for each labeled one; 0: as many of each as there are, which in
            one source alone is left to chance.
        batch_size: over all replicas, each of which gets the same share of each part.
        replicas: how many.

    Raises:
        UserError: nothing to mix, or a batch too small for it.
    """
    if ratio:
        sources, weights = _weighted_by_label(source, unlabeled, ratio)
    else:
        sources = [source] if unlabeled is None else [source, unlabeled]
        weights = [each.num_examples for each in sources]
    shares = _shares(batch_size // replicas, weights)
    if 0 in shares:
        raise _too_small(weights, ratio, batch_size, replicas)
    return [BatchPart(each, share * replicas) for each, share in zip(sources, shares)]


def _weighted_by_label(source, unlabeled, ratio):
    """(sources, weights): `ratio` images without label for each labeled one."""
    without_label = [source.labeled(has_label=False)]
    if unlabeled is not None:
        without_label.append(unlabeled)
    without_label = [each for each in without_label if each.num_examples]
    total = sum(each.num_examples for each in without_label)
    check_both_kinds(source.num_labeled, total, ratio)
    weights = [1.0, *(ratio * each.num_examples / total for each in without_label)]
    return [source.labeled(), *without_label], weights


def check_both_kinds(num_labeled: int, num_unlabeled: int, ratio: float):
    """Checks that there are images with a label and images without.

    Raises:
        UserError: there is only one kind.
    """
    if not (num_labeled and num_unlabeled):
        raise UserError(
            f"--unlabeled_ratio={ratio:g}: images with and without label are needed, and there are "
            f"{num_labeled} with and {num_unlabeled} without; see --label_fraction, "
            "--unlabeled_dataset and, of exemplar, --seed_images"
        )


def _shares(total, weights):
    """`total` split in proportion to `weights`, in whole numbers."""
    ends = np.rint(np.cumsum(weights) / np.sum(weights) * total).astype(int)
    return np.diff(ends, prepend=0).tolist()


def _too_small(weights, ratio, batch_size, replicas):
    """The error for a batch that has no image of one of the parts."""
    smallest_share = min(weights) / sum(weights)
    if smallest_share * MAX_INT32 < replicas:
        return UserError(
            f"--unlabeled_ratio={ratio:g}: no batch is large enough for so small a share; "
            "give 0, or more"
        )
    least = replicas * int(np.ceil(1 / smallest_share))
    proportion = " : ".join(f"{weight:g}" for weight in weights)
    return UserError(
        f"--train_batch_size={batch_size}: too few for {proportion} images of each kind on each of "
        f"{replicas} replicas; --train_batch_size={least} is enough"
    )
