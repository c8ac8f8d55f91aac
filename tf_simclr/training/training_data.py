"""What a run is trained on: which images, which of their labels, what is held out."""

import dataclasses
import functools
import hashlib

import numpy as np
from absl import logging
from etils import epath

from tf_simclr.config import Config
from tf_simclr.config.automatic import FULL_RANGE
from tf_simclr.data import datasets, holdout, label_subset, mixture, transparency, value_range
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.mixture import BatchPart
from tf_simclr.data.source import Source
from tf_simclr.errors import UserError
from tf_simclr.objectives import objective_class
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.training.earlier_runs import (
    directories_of_starts,
    earlier_directories,
    held_out_question,
    saved_by_runs,
    saved_division,
    saved_held_out,
)


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """The data of a training.

    Attributes:
        train_source: the training images with the labels that may be used, without those held out.
        held_out: images that validation during the training takes; None: nothing is held out.
        batch_parts: what every batch is made of.
        num_available: images that there are; a run may train on a draw of them.
        label_subset: which labels are used, for `labels.json`; None where all are.
        value_range: what --value_range means for these images.
        held_out_ids: which images are held out, for `held_out.json`; None: nothing is held out.
    """

    train_source: Source
    held_out: Indexed | None
    batch_parts: list[BatchPart]
    num_available: int
    label_subset: dict | None
    value_range: str
    held_out_ids: dict | None = None

    @property
    def sources(self) -> list[Source]:
        """All that is trained on or held out."""
        sources = [self.train_source, self.held_out, *(part.source for part in self.batch_parts)]
        return [source for source in sources if source is not None]

    @property
    def division(self) -> dict | None:
        """What `division.json` holds; None where nothing is divided."""
        facts = self.train_source.facts
        if facts is None or facts.moved is None:
            return None
        return {"dataset": self.train_source.name, "moved": facts.moved}

    @property
    def num_images(self) -> int:
        """Images of an epoch."""
        return sum(part.source.num_examples for part in self.batch_parts)

    @property
    def labels_per_batch(self) -> float:
        """Labels of a batch, on average."""
        return sum(
            part.batch_size * part.source.num_labeled / part.source.num_examples
            for part in self.batch_parts
        )

    @functools.cached_property
    def image_ids(self) -> str:
        """A text that changes if the images have other names, or another order."""
        names = []
        for part in self.batch_parts:
            index = np.arange(part.source.num_examples)
            names += part.source.names_of(index)
        return hashlib.sha256("\n".join(names).encode()).hexdigest()


def load_training_data(
    settings: Config,
    *,
    directory: RunDirectory,
    related: list[epath.Path],
    later: list[Config],
    num_replicas: int,
    selected_labels: dict | None = None,
) -> TrainingData:
    """Loads what a run is trained on.

    Args:
        settings: the whole configuration.
        directory: of the run.
        related: run directories whose label subset is used where it is of the same question.
        later: configurations that run after this one; if they need labels that the data do not
            have, it shows now, and what the runs that they start from hold out is held out here.
        num_replicas: over which a batch is split.
        selected_labels: the labels of --labels_chosen=selected, as in `labels.json`; None: those
            that were saved.

    Raises:
        UserError: data that can't be had, or that do not fit the configuration.
    """
    directories = earlier_directories(settings, directory.path, related)
    # Else a later stage would be evaluated on images that its start was trained on.
    divided_by = [*directories, *directories_of_starts(later)]
    _check_splits(settings, later, divided_by)
    moved = saved_division(settings.data.dataset, divided_by)
    source = datasets.load(settings.data, settings.data.train_split, moved=moved)
    transparency.note(source)
    settled = value_range.settle(settings.data.value_range, source)
    if settled != settings.data.value_range:
        settings = settings.replace(value_range=settled)
        if settled != FULL_RANGE:
            source = source.with_value_range(settings.value_range)
    saved = saved_by_runs(run_files.LABELS, directories)
    if selected_labels is not None:
        saved.append(selected_labels)
    source, subset = label_subset.restrict(source, settings.data, settings.train.seed, saved)
    if not source.num_labeled:
        _check_no_labels_are_needed(source, settings, later)
    _check_later_mixtures(source, settings, later)
    held_out = held_out_ids = None
    # After the labels were chosen, so that no more of them are used.
    if settings.eval.eval_every_epochs:
        fraction = settings.eval.holdout_fraction
        saved_ids = saved_held_out(settings, directories)
        source, held_out, ids = holdout.split(source, fraction, settings.train.seed, saved_ids)
        held_out_ids = {**held_out_question(settings), "ids": ids}
    batch_parts, num_available = _make_batch_parts(source, settings, num_replicas)
    return TrainingData(
        source,
        held_out,
        batch_parts,
        num_available,
        label_subset=subset,
        value_range=settled,
        held_out_ids=held_out_ids,
    )


def _check_splits(settings, later, divided_by):
    """Later stages may have other data; that a split is missing should show before any training."""
    for data in dict.fromkeys(stage.data for stage in later):
        if data == settings.data:
            continue
        known = datasets.splits(data, saved_division(data.dataset, divided_by))
        datasets.require_split(data, data.train_split, known)
        if settings.mode.evaluates:
            datasets.require_split(data, data.eval_split, known)


def _check_no_labels_are_needed(source, settings, later):
    for stage in (settings, *_with_same_images(settings, later)):
        if stage.mode.trains and objective_class(stage).needs_labels(stage):
            raise UserError(
                f"--train_mode={stage.objective.train_mode}: {source.name}, split {source.split}, "
                "has no labels; only pretraining and distillation work without"
            )
    logging.info("%s has no labels: nothing that needs labels is trained or evaluated", source.name)


def _check_later_mixtures(source, settings, later):
    """That a later stage has nothing to mix should show before any training."""
    for stage in _with_same_images(settings, later):
        kind = objective_class(stage)
        ratio = kind.unlabeled_ratio(stage)
        mixes = ratio and stage.mode.trains and not kind.labeled_only(stage)
        if mixes and not stage.data.unlabeled_dataset:
            num_unlabeled = source.num_examples - source.num_labeled
            mixture.check_both_kinds(source.num_labeled, num_unlabeled, ratio)


def _with_same_images(settings, later):
    images = _what_images_depend_on(settings)
    return [other for other in later if _what_images_depend_on(other) == images]


def _make_batch_parts(source, settings, num_replicas):
    """(what every batch is made of, how many images there are to choose from)."""
    kind = objective_class(settings)
    batch_size = settings.train.train_batch_size
    if kind.labeled_only(settings) and source.num_labeled:
        labeled = source.labeled()
        return [BatchPart(labeled, batch_size)], labeled.num_examples
    moved = source.facts.moved if source.facts else None
    unlabeled = datasets.load_unlabeled(settings.data, moved)
    num_available = source.num_examples
    chosen_unlabeled = None
    if unlabeled is not None:
        num_available += unlabeled.num_examples
        chosen_unlabeled = kind.select_images(settings, unlabeled)
    ratio = kind.unlabeled_ratio(settings)
    if ratio != settings.data.unlabeled_ratio:
        logging.info(
            "--unlabeled_ratio=0: %g images without label for each one with a label, as published "
            "of --semi_method=%s",
            ratio,
            settings.semi.semi_method,
        )
    batch_parts = mixture.batch_parts(
        kind.select_images(settings, source),
        chosen_unlabeled,
        ratio,
        batch_size,
        num_replicas,
    )
    if len(batch_parts) > 1:
        texts = [
            f"{part.batch_size} of {part.source.num_examples} images of {part.source.name} "
            f"({part.source.num_labeled} labels)"
            for part in batch_parts
        ]
        logging.info("every batch: %s", ", ".join(texts))
    return batch_parts, num_available


def num_images_of(settings: Config, known: Config, data: TrainingData) -> int | None:
    """Images of an epoch of another stage.

    Args:
        settings: of that stage.
        known: the configuration that `data` was loaded with.
        data: of a stage with the same images.

    Returns:
        None where it is known only when its data is loaded.
    """
    if settings == known:
        return data.num_images
    if _what_images_depend_on(settings) != _what_images_depend_on(known):
        return None
    kind = objective_class(settings)
    if kind.labeled_only(settings):
        return data.train_source.num_labeled
    if settings.data.unlabeled_dataset:
        return None
    return kind.select_images(settings, data.train_source).num_examples


def _what_images_depend_on(settings):
    is_held_out = bool(settings.eval.eval_every_epochs)
    fraction = settings.eval.holdout_fraction if is_held_out else 0
    # Pixels and their range change no number; the range of a stage that was loaded is known.
    data = dataclasses.replace(settings.data, value_range="", image_size=0)
    return data, settings.train.seed, fraction


def check_numbered(data: TrainingData, settings: Config, directory: RunDirectory):
    """Checks images that are classes of their own, so that each is known by its number.

    Raises:
        UserError: a stream, whose images have no numbers, a single image, or other images than
            those that the run began with.
    """
    if not objective_class(settings).needs_index:
        return
    prefix = f"--pretext={settings.pretext.pretext}: each image is a class of its own, and"
    streams = [part.source for part in data.batch_parts if not isinstance(part.source, Indexed)]
    if streams:
        raise UserError(
            f"{prefix} {streams[0].name} is read as a stream, in which none has a number; "
            "--seed_images=8000 takes so many of them, --cache_dataset keeps all in memory"
        )
    if data.num_images < 2:
        raise UserError(f"{prefix} there is one to train on; at least 2 are needed")
    saved = directory.read(run_files.DATA) or {}
    if saved.get("image_ids", data.image_ids) != data.image_ids:
        raise UserError(
            f"--model_dir={directory.path}: each image is a class of its own, and those here "
            f"({data.num_available}) are not those that the run began with ({saved['images']}); "
            "bring them back, or give a new --model_dir"
        )


def check_comparable(data: TrainingData, settings: Config):
    """Checks that an image has others to be compared with, where the loss does so.

    Raises:
        UserError: a single image.
    """
    if objective_class(settings).couples_examples and data.num_images < 2:
        raise UserError(
            f"--pretext={settings.pretext.pretext}: it compares images, and there is one to train "
            f"on in {data.batch_parts[0].source.name}; at least 2 are needed"
        )
