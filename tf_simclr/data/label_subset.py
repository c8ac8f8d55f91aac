"""Which labels may be used: a class-balanced, seeded subset, or one that was selected before."""

import numpy as np
from absl import logging

from tf_simclr.config.data_sections import DataConfig
from tf_simclr.config.label_tables import same_table
from tf_simclr.config.values import same_data_set
from tf_simclr.data.source import Source, count_labels, counted, first_names
from tf_simclr.errors import UserError

DRAWN, SELECTED = "drawn", "selected"  # values of --labels_chosen


def choose(labels: np.ndarray, fraction: float, per_class: int, seed: int) -> np.ndarray:
    """Chooses the labeled examples to keep.

    Args:
        labels: int64 [N], -1 for unlabeled.
        fraction: share of each class, at least one example.
        per_class: that many of each class instead, if > 0, or all that it has.
        seed: of the draws.

    Returns:
        Their indices, ascending.
    """
    chosen = []
    for label in np.unique(labels[labels >= 0]):
        members = np.flatnonzero(labels == label)
        count = per_class or max(1, round(fraction * len(members)))
        rng = np.random.default_rng([seed, int(label)])
        chosen.append(rng.permutation(members)[:count])
    return np.sort(np.concatenate(chosen)) if chosen else np.array([], np.int64)


def restrict(
    source: Source, data: DataConfig, seed: int, saved: list[dict] = ()
) -> tuple[Source, dict | None]:
    """A source with only the labels that the configuration allows; the others are -1.

    Args:
        source: with all labels.
        data: the data section of the configuration.
        seed: of the draws.
        saved: subsets of earlier calls, or that were selected; the first one that answers the same
            question is used.

    Returns:
        (the source, the subset as a dict for JSON, or None where all labels are used).

    Raises:
        UserError: there are no labels, or they should have been selected and are not.
    """
    if not is_restricted(data):
        return source, None
    if not source.num_labeled:
        raise UserError(
            f"{source.name}, split {source.split}: it has no labels of which --label_fraction or "
            "--labels_per_class could keep some; leave the flag out"
        )
    question = question_of(data)
    subset = matching(saved, question)
    if subset is None and data.labels_chosen == SELECTED:
        raise UserError(
            "--labels_chosen=selected: images are selected with the weights of --checkpoint, and "
            "none is given; of a chain, give it to the stages that have one, e.g. "
            "--finetune.labels_chosen=selected"
        )
    if subset is None:
        if saved:
            logging.warning(
                "the run that this one starts from chose its labels with %s: "
                "another choice is made here",
                _differing_flags(saved[0], question),
            )
        subset = {**question, "seed": seed, "ids": _draw(source, data, seed)}
    logging.info(
        "%s, split %s: %d of %d labels are used",
        source.name,
        source.split,
        len(subset["ids"]),
        source.num_labeled,
    )
    return source.with_labels_of(subset["ids"]), subset


def _differing_flags(subset, question):
    """The flags of a subset whose values are others than those of a question."""
    flags = []
    answered = _answered(subset, question)
    for name, wanted in question.items():
        value = answered.get(name, "")
        if value != wanted:
            flag = "train_split" if name == "split" else name
            flags.append(f"--{flag}={value}")
    return " ".join(flags)


def _draw(source, data, seed):
    """The ids of the examples whose labels are kept."""
    names, labels = source.example_ids()
    index = choose(labels, data.label_fraction, data.labels_per_class, seed)
    _warn_of_small_classes(source, labels, data.labels_per_class)
    return names[index].tolist()


def _warn_of_small_classes(source, labels, per_class):
    """Classes that have fewer labels than are to be kept of each."""
    counts = count_labels(labels, source.num_classes)
    small = [f"{source.class_names[i]} ({counts[i]})" for i in np.flatnonzero(counts < per_class)]
    if small:
        logging.warning(
            "%s with fewer than --labels_per_class=%d labels, of which all are used: %s",
            counted(len(small), "class"),
            per_class,
            first_names(small),
        )


def is_restricted(data: DataConfig) -> bool:
    """Whether some of the labels are not used."""
    return data.label_fraction < 1 or data.labels_per_class > 0


def question_of(data: DataConfig) -> dict:
    """What a subset of the labels of the training split is an answer to."""
    return {
        "dataset": data.dataset,
        "labels": data.labels,
        "split": data.train_split,
        "label_fraction": data.label_fraction,
        "labels_per_class": data.labels_per_class,
        "labels_chosen": data.labels_chosen,
    }


def matching(saved: list[dict], question: dict) -> dict | None:
    """The first of the saved subsets that answers a question, or None."""
    for subset in saved:
        answered = _answered(subset, question)
        if same_data_set(answered.get("dataset", ""), question["dataset"]):
            answered["dataset"] = question["dataset"]
        if same_table(answered["labels"], question["labels"], question["dataset"]):
            answered["labels"] = question["labels"]
        if question.items() <= answered.items():
            return subset
    return None


def _answered(subset, question):
    """The question that a subset answers; older files lack the first two keys."""
    return {"labels_chosen": DRAWN, "labels": question["labels"], **subset}
