"""What a run is evaluated on, and what is odd about it."""

import numpy as np
from absl import logging

from tf_simclr.config import Config
from tf_simclr.config.splits import overlap
from tf_simclr.data import copies, datasets
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.source import Source, count_labels, first_names
from tf_simclr.errors import UserError
from tf_simclr.training.training_data import TrainingData


def load_eval_source(settings: Config, train_source: Source) -> Source:
    """The evaluation split; a line of the log for each thing that makes metrics doubtful.

    Args:
        settings: the whole configuration.
        train_source: what is trained on.

    Raises:
        UserError: it has other classes than the training split.
    """
    data = settings.data
    moved = train_source.facts.moved if train_source.facts else None
    source = datasets.load(data, data.eval_split, moved=moved)
    if source.class_names != train_source.class_names:
        eval_classes = first_names(source.class_names) or "none"
        train_classes = first_names(train_source.class_names) or "none"
        in_one_split = set(source.class_names) ^ set(train_source.class_names)
        difference = first_names(sorted(in_one_split)) or "none, but their order differs"
        raise UserError(
            f"--eval_split={data.eval_split}: its classes ({eval_classes}) are not those of "
            f"{data.train_split} ({train_classes}); in one of the splits only: {difference}"
        )
    if overlap(data.train_split, data.eval_split):
        logging.warning(
            "split %s is trained on and evaluated (--eval_split=%s): the metrics say how well "
            "these images are known, not how good the network is on others",
            data.train_split,
            data.eval_split,
        )
    elif isinstance(train_source, Indexed) and isinstance(source, Indexed):
        _warn_of_copies(train_source, source)
    if isinstance(source, Indexed):
        _warn_of_missing_classes(source)
    return source


def warn_of_unlabeled_copies(data: TrainingData, eval_source: Source):
    """A line of the log where images of --unlabeled_dataset are evaluated."""
    of_training = (data.train_source.name, data.train_source.split)
    for source in [part.source for part in data.batch_parts]:
        is_unlabeled = (source.name, source.split) != of_training
        if is_unlabeled and isinstance(source, Indexed) and isinstance(eval_source, Indexed):
            _warn_of_copies(source, eval_source)


def _warn_of_copies(train_source, source):
    pairs = copies.between(train_source, source)
    if not pairs:
        return
    trained, evaluated = pairs[0]
    logging.warning(
        "%d of %d images of split %s are exact copies of images that are trained on, so the "
        "metrics are too good, e.g. %s of %s",
        len(pairs),
        source.num_examples,
        source.split,
        evaluated,
        trained,
    )


def _warn_of_missing_classes(source):
    """Classes that are trained and never occur in the evaluation."""
    if not source.num_labeled:
        return
    counts = count_labels(source.labels, source.num_classes)
    missing = [source.class_names[index] for index in np.flatnonzero(counts == 0)]
    if missing:
        verb, pronoun = ("occur", "them") if len(missing) > 1 else ("occurs", "it")
        logging.warning(
            "%d of %d classes never %s in split %s, so nothing is known of %s: %s",
            len(missing),
            source.num_classes,
            verb,
            source.split,
            pronoun,
            first_names(missing),
        )
