"""A part of the training split that is kept out of the training, for validation."""

import numpy as np
from absl import logging

from tf_simclr.data import copies
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.source import UNLABELED, Source
from tf_simclr.errors import UserError


def choose(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Chooses the examples to hold out: a share of those with and of those without a label.

    At least one of each kind, and of each class as large a share as whole numbers allow; but no
    class loses its last example. One order of all examples decides, so that other labels change
    little.

    Args:
        labels: int64 [N], -1 for unlabeled.
        fraction: to hold out.
        seed: of the order.

    Returns:
        Their indices, ascending.
    """
    order = np.random.default_rng([seed, 0, 1]).permutation(len(labels))
    rank = np.empty(len(labels))  # of each example within its class, between 0 and 1
    by_class = order[np.argsort(labels[order], kind="stable")]
    _, first, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    number = np.arange(len(labels)) - np.repeat(first, counts)  # 0, 1, ... within each class
    rank[by_class] = (number + 0.5) / np.repeat(counts, counts)
    rank[by_class[first + counts - 1]] = np.inf
    chosen = []
    for has_label in (True, False):
        members = order[(labels[order] != UNLABELED) == has_label]
        count = max(1, round(fraction * len(members)))
        first = members[np.argsort(rank[members], kind="stable")][:count]
        chosen.append(first[np.isfinite(rank[first])])
    return np.sort(np.concatenate(chosen))


def _chosen(source, fraction, seed, saved_ids=()):
    ids, labels = source.example_ids()
    chosen = _chosen_before(ids, labels, saved_ids)
    if not len(chosen):
        chosen = choose(labels, fraction, seed)
    return copies.without_copies_in_the_rest(source, chosen)


def num_labels(source: Indexed, fraction: float, seed: int) -> int:
    """How many labels `split` would hold out for the first time."""
    labels = source.labels[_chosen(source, fraction, seed)]
    return int(np.count_nonzero(labels != UNLABELED))


def split(
    source: Source, fraction: float, seed: int, saved_ids: list = ()
) -> tuple[Indexed, Indexed, list]:
    """Divides a source, in the same way at each call.

    Args:
        source: to divide.
        fraction: to hold out.
        seed: of the choice.
        saved_ids: ids of the examples that were held out before. Those that are still there are
            held out again and others are not, since a network may have been trained on them.

    Returns:
        (what is left to train on, what is held out, the ids of the latter).

    Raises:
        UserError: the source is not in memory, or too small.
    """
    name = f"{source.name}, split {source.split}"
    if not isinstance(source, Indexed):
        raise UserError(
            f"--eval_every_epochs: {name}, is read from its files one after the other, and nothing "
            "can be held out of it; give --cache_dataset=True or a smaller slice, e.g. "
            "--train_split=train[:10%], or leave --eval_every_epochs out"
        )
    chosen = _chosen(source, fraction, seed, saved_ids)
    if not len(chosen):
        raise UserError(
            f"--eval_every_epochs: none of the {source.num_examples} images of {name}, can be held "
            "out, since every class keeps one, and all copies; give more images, or leave it out"
        )
    held_out = source.take(chosen)
    logging.info(
        "%s: %d of %d images and %d of %d labels are held out of the training",
        name,
        held_out.num_examples,
        source.num_examples,
        held_out.num_labeled,
        source.num_labeled,
    )
    rest = np.setdiff1d(np.arange(source.num_examples), chosen)
    ids, _ = source.example_ids()
    return source.take(rest), held_out, ids[chosen].tolist()


def _chosen_before(ids, labels, saved_ids):
    """Indices of the examples that were held out before; none where that is of no use any more.

    No class is held out whole, and some of the labels are held out where there are any.
    """
    is_chosen = np.isin(ids, saved_ids)
    is_chosen &= np.isin(labels, labels[~is_chosen])
    has_label = labels != UNLABELED
    if has_label.any() and not has_label[is_chosen].any():
        return np.array([], np.int64)
    return np.flatnonzero(is_chosen)
