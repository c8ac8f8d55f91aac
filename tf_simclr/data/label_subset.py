"""Which labels may be used: a class-balanced, seeded subset."""

import numpy as np
from absl import logging

from tf_simclr.errors import UserError


def choose(labels, fraction, per_class, seed):
    """Indices (sorted) of the labelled examples to keep.

    Args:
        labels: int64 [N], -1 for unlabelled.
        fraction: share of each class, at least one example. per_class: that many of each class instead, if > 0.

    Raises:
        UserError: a class has fewer than `per_class` examples.
    """
    chosen = []
    for label in np.unique(labels[labels >= 0]):
        members = np.flatnonzero(labels == label)
        count = per_class or max(1, round(fraction * len(members)))
        if count > len(members):
            raise UserError(
                f"--labels_per_class={per_class}: class {label} has only {len(members)} labelled examples; at most that many are possible"
            )
        chosen.append(np.random.default_rng([seed, int(label)]).permutation(members)[:count])
    return np.sort(np.concatenate(chosen)) if chosen else np.array([], np.int64)


def restrict(source, data, seed, written=()):
    """`source` with only the labels that the data section of the configuration allows; the others are -1.

    Args:
        written: results of earlier calls; the first one that answers the same question is used again.

    Returns:
        (the source, the subset as a dict for JSON, or None where all labels are used).
    """
    if data.label_fraction >= 1 and not data.labels_per_class:
        return source, None
    if not source.num_labeled:
        raise UserError(
            f"{source.name}, split {source.split}: it has no labels of which --label_fraction or --labels_per_class could keep some; leave the flag out"
        )
    question = {
        "dataset": source.name,
        "split": source.split,
        "label_fraction": data.label_fraction,
        "labels_per_class": data.labels_per_class,
    }
    chosen = next((subset for subset in written if question.items() <= subset.items()), None)
    if chosen is None:
        if written:
            logging.warning(
                "the labels of the run this one starts from were chosen for %s: another choice is made here",
                {name: written[0].get(name) for name in question},
            )
        names, labels = source.example_ids()
        ids = names[choose(labels, data.label_fraction, data.labels_per_class, seed)].tolist()
        chosen = {**question, "seed": seed, "ids": ids}
    logging.info(
        "%s, split %s: %d of %d labels are used",
        source.name,
        source.split,
        len(chosen["ids"]),
        source.num_labeled,
    )
    return source.with_labels_of(chosen["ids"]), chosen
