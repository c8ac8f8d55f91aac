"""--labels_chosen=selected: a data set with labels plays the person who labels what is asked."""

import numpy as np
from absl import logging
from etils import epath

from tf_simclr.commands.image_set import compute_image_set, extractor_of
from tf_simclr.commands.selecting import Request, choose
from tf_simclr.config import Config
from tf_simclr.data import label_subset
from tf_simclr.data.label_subset import SELECTED
from tf_simclr.data.source import UNLABELED, Source, count_labels, counted
from tf_simclr.runs import files as run_files
from tf_simclr.training.earlier_runs import earlier_directories, saved_by_runs


def select(settings: Config, related: list[epath.Path]) -> dict | None:
    """Selects images with the weights of --checkpoint; their labels are those that may be used.

    Args:
        settings: the whole configuration.
        related: run directories of the stages before, which may have selected them.

    Returns:
        The subset for `labels.json`; None where nothing is to be selected, or it has been before.
    """
    data, checkpoint = settings.data, settings.objective.checkpoint
    if data.labels_chosen != SELECTED or not label_subset.is_restricted(data) or not checkpoint:
        return None
    directories = earlier_directories(settings, epath.Path(settings.train.model_dir), related)
    saved = saved_by_runs(run_files.LABELS, directories)
    question = label_subset.question_of(data)
    if label_subset.matching(saved, question) is not None:
        return None
    extractor = extractor_of(checkpoint, "checkpoint", settings)
    source = extractor.load(data.train_split)
    names, labels = source.example_ids()
    request = Request(
        _count(source, settings), settings.select.select_strategy, settings.train.seed
    )
    images = compute_image_set(extractor, [source.without_labels()], "selecting labels")
    chosen = choose(images, labels != UNLABELED, request)
    _log(source, labels[chosen.index])
    ids = names[np.sort(chosen.index)].tolist()
    return {**question, "seed": settings.train.seed, "ids": ids}


def _count(source, settings):
    """As many as would be drawn."""
    if settings.data.labels_per_class:
        return settings.data.labels_per_class * source.num_classes
    return max(1, round(settings.data.label_fraction * source.num_labeled))


def _log(source: Source, labels: np.ndarray):
    counts = count_labels(labels, source.num_classes)
    logging.info(
        "%s selected by what the network of --checkpoint makes of the images: %d to %d a class; "
        "%s without any",
        counted(len(labels), "label"),
        counts.min(),
        counts.max(),
        counted(int((counts == 0).sum()), "class"),
    )
