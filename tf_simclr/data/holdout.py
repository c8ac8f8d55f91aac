"""A part of the training split that is kept out of the training, to evaluate on while it runs."""

import numpy as np
from absl import logging

from tf_simclr.data.source import UNLABELED, Indexed
from tf_simclr.errors import UserError


def choose(labels, fraction, seed):
    """Indices (sorted) of the examples to hold out: the share `fraction` of those with and of those without a label.

    At least one of each kind, and of each class as large a share as whole numbers allow; but no class loses its last example.
    One order of all examples decides, so that other labels change little.

    Args:
        labels: int64 [N], -1 for unlabelled.
    """
    order = np.random.default_rng([seed, 0, 1]).permutation(len(labels))
    place = np.empty(len(labels))  # of each example within its class, between 0 and 1
    for label in np.unique(labels):
        members = order[labels[order] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
        place[members[-1]] = np.inf
    chosen = []
    for has_label in (True, False):
        members = order[(labels[order] != UNLABELED) == has_label]
        first = members[np.argsort(place[members], kind="stable")][
            : max(1, round(fraction * len(members)))
        ]
        chosen.append(first[np.isfinite(place[first])])
    return np.sort(np.concatenate(chosen))


def split(source, fraction, seed):
    """(what is left to train on, what is held out) of `source`; the same at each call.

    Raises:
        UserError: the source is not in memory, or too small.
    """
    if not isinstance(source, Indexed):
        raise UserError(
            f"--eval_every_epochs: {source.name}, split {source.split}, is read from its files one after the other, and nothing can be held out of it; "
            "give --cache_dataset=True or a smaller slice, e.g. --train_split=train[:10%], or leave --eval_every_epochs out"
        )
    chosen = choose(source.labels, fraction, seed)
    if not len(chosen):
        raise UserError(
            f"--eval_every_epochs: none of the {source.num_examples} images of {source.name}, split {source.split}, can be held out, since every class "
            "keeps one; give more images, or leave it out"
        )
    held_out = source.take(chosen)
    logging.info(
        "%s, split %s: %d of %d images and %d of %d labels are held out of the training",
        source.name,
        source.split,
        held_out.num_examples,
        source.num_examples,
        held_out.num_labeled,
        source.num_labeled,
    )
    return source.take(np.setdiff1d(np.arange(source.num_examples), chosen)), held_out
