"""What a verdict compares: classifiers and linear probes of runs, each with its accuracy."""

import dataclasses
import math
import os

import numpy as np

from tf_simclr.config.backbones import is_published
from tf_simclr.config.splits import overlap
from tf_simclr.config.stages import CHECKPOINT_FLAGS
from tf_simclr.report import image_bits, intervals
from tf_simclr.report.evaluated import (
    CLASSIFIER,
    NETWORKS,
    headline_layers,
    metrics_of,
    networks_of,
)
from tf_simclr.report.intervals import Interval
from tf_simclr.report.runs import Run

# Kinds of contenders beside CLASSIFIER.
PROBE, UNTRAINED, PIXELS, PUBLISHED = "probe", "untrained", "pixels", "published"
BASELINES = (PIXELS, UNTRAINED, PUBLISHED)
# Values of --train_mode.
PRETRAIN, SUPERVISED, SEMI, DISTILL = "pretrain", "supervised", "semi", "distill"
SELECTED = "selected"  # value of --labels_chosen
BALANCED = "balanced"  # value of --class_weights
# Flags that say which labels were used; the seed draws them.
LABEL_FLAGS = ("dataset", "train_split", "labels", "label_fraction", "labels_per_class")


@dataclasses.dataclass(frozen=True)
class LabelSet:
    """The labels that a run has used.

    Attributes:
        flags: what tells them from others.
        count: how many; None if it is not known.
        is_selected: whether they were selected, not drawn.
    """

    flags: tuple
    count: int | None
    is_selected: bool

    def __str__(self):
        if self.count is None:
            return "the same labels"
        plural = "" if self.count == 1 else "s"
        return f"{self.count:,} {'selected ' * self.is_selected}label{plural}"


@dataclasses.dataclass(frozen=True, eq=False)  # each is one of its own
class Contender:
    """A classifier, or a linear probe.

    Attributes:
        name: for readers, unique on the page.
        kind: CLASSIFIER, PROBE, UNTRAINED, PIXELS or PUBLISHED.
        run: whose it is, or whose baseline.
        labels: that it was fitted to.
        accuracy: share of the images that it is right about.
        num_images: that were evaluated.
        images: what tells the evaluated images from others.
        correct: bool [N], of which images it is right about; None if it is not known.
        balanced_accuracy: mean over classes; None if it is not known.
        is_supervised: whether it is a network that learned from labels without any pretraining.
    """

    name: str
    kind: str
    run: Run
    labels: LabelSet
    accuracy: float
    num_images: int
    images: tuple
    correct: np.ndarray | None
    balanced_accuracy: float | None = None
    is_supervised: bool = False

    @property
    def phrase(self) -> str:
        """What it is called in a sentence."""
        return self.name if self.kind == CLASSIFIER else f"a linear probe on {self.name}"

    @property
    def num_with_copies(self) -> int:
        """The evaluated images before near-copies of training images are left out."""
        return self.images[-2]

    @property
    def balances_classes(self) -> bool:
        """Whether all classes count the same, and its balanced accuracy is known."""
        is_balanced = self.run.get("flags").get("class_weights") == BALANCED
        return is_balanced and self.balanced_accuracy is not None

    @property
    def is_pretrained_probe(self) -> bool:
        """Whether it is a probe on features of a pretraining, which have seen no labels."""
        return self.kind == PROBE and not is_imported(self.run)

    @property
    def interval(self) -> Interval:
        """The accuracy with its interval."""
        return intervals.of_accuracy(self.accuracy, self.num_images)

    def is_paired_with(self, other: "Contender") -> bool:
        """Whether both can be compared image by image."""
        is_known = self.correct is not None and other.correct is not None
        return is_known and self.images == other.images

    def minus(self, other: "Contender") -> Interval:
        """The difference of the accuracies; image by image where that is possible."""
        if not self.is_paired_with(other):
            return intervals.of_difference(self.interval, other.interval)
        paired = intervals.of_paired_difference(self.correct, other.correct)
        # Of more images than are kept one by one the difference is known better.
        return dataclasses.replace(paired, value=self.accuracy - other.accuracy)

    def on(self, is_kept: np.ndarray) -> "Contender":
        """The same on some of the images only.

        Args:
            is_kept: bool [N].
        """
        correct = self.correct[is_kept]
        return dataclasses.replace(
            self, accuracy=float(correct.mean()), num_images=len(correct), correct=correct
        )


def of_runs(runs: list[Run]) -> list[Contender]:
    """The classifiers and probes of runs; of baselines those of the first run with its labels.

    Runs that were evaluated on their training images are left out.
    """
    contenders = []
    for run in runs:
        if not is_on_training_images(run):
            contenders += _of_run(run, runs)
    distinct = {}
    for contender in contenders:
        shared = contender.labels, contender.images[:-1]
        key = contender.kind, shared if contender.kind in BASELINES else contender.name
        if contender.kind == PUBLISHED:
            key = *key, contender.name
        distinct.setdefault(key, contender)
    return list(distinct.values())


def is_on_training_images(run: Run) -> bool:
    """Whether a run was evaluated on images that it was trained on."""
    split = run.facts.get("eval_split", "")
    return bool(split) and overlap(run.facts.get("train_split", ""), split)


def is_imported(run: Run) -> bool:
    """Whether weights from elsewhere were evaluated; which labels they had is not known."""
    return "--mode=eval" in run.get("command").split()


def is_unpretrained(run: Run, runs: list[Run]) -> bool:
    """Whether a network is known to have learned without any pretraining.

    Args:
        run: whose network it is.
        runs: among which are those that it may have started or learned from.
    """
    flags = run.get("flags")
    train_mode = run.facts.get("train_mode")
    if train_mode == SUPERVISED:
        return True
    if train_mode == PRETRAIN or is_published(flags.get("backbone", "")):
        return False
    paths = [flags[name].rstrip("/") for name in CHECKPOINT_FLAGS if flags.get(name)]
    if not paths:
        return train_mode == SEMI
    others = [other for other in runs if other is not run]
    directories = {other.get("flags").get("model_dir"): other for other in others}
    # A path is a run directory, or a directory or checkpoint in one.
    origins = [directories.get(path) or directories.get(os.path.dirname(path)) for path in paths]
    return all(origin is not None and is_unpretrained(origin, others) for origin in origins)


def label_set(run: Run) -> LabelSet:
    """The labels that a run has used."""
    flags = run.get("flags")
    is_selected = flags.get("labels_chosen") == SELECTED
    is_restricted = flags.get("labels_per_class") or flags.get("label_fraction", 1) != 1
    values = [flags.get(name) for name in LABEL_FLAGS]
    values.append(flags.get("seed") if is_restricted else None)
    return LabelSet(tuple(map(str, values)), run.facts.get("labels"), is_selected)


def _of_run(run, runs):
    """The contenders of one of the runs: its classifier, a probe on its features, its baselines."""
    layer, _ = headline_layers(run.document)
    subject = run.name if len(runs) > 1 else "this network"
    sources = [
        (NETWORKS["pixels"], PIXELS, "pixels", "pixels"),
        (f"the {NETWORKS['untrained']}", UNTRAINED, "untrained", layer),
    ]
    for network, title in networks_of(run.document).items():
        if network not in NETWORKS:
            sources.append((f"the published {title}", PUBLISHED, network, layer))
    # The classifier that a pretraining trains on the side says less than a probe does, and of
    # imported weights it is not known which labels they had.
    if run.facts.get("train_mode") == PRETRAIN or is_imported(run):
        sources.append((f"the features of {subject}", PROBE, "trained", layer))
    else:
        sources.append((subject, CLASSIFIER, "trained", CLASSIFIER))
    contenders = [_contender(run, runs, *source) for source in sources]
    return [contender for contender in contenders if contender is not None]


def _contender(run, runs, name, kind, network, layer):
    """One contender; None where its accuracy is not known."""
    is_classifier = kind == CLASSIFIER
    metrics = metrics_of(run.document, network, layer)
    accuracy = metrics.get("label_top_1_accuracy" if is_classifier else "linear_probe_accuracy")
    balanced = "label_balanced_accuracy" if is_classifier else "linear_probe_balanced_accuracy"
    num_images = run.facts.get("evaluated_examples", 0)
    has_labels = run.facts.get("labels") != 0
    if accuracy is None or not math.isfinite(accuracy) or num_images < 1 or not has_labels:
        return None
    saved = run.details(layer, "classifier_correct" if is_classifier else "probe_correct", network)
    correct = saved and image_bits.unpack(saved)
    if saved:
        num_images = max(saved["images"], 1)
    return Contender(
        name,
        kind,
        run,
        label_set(run),
        min(max(accuracy, 0.0), 1.0),
        num_images,
        (*evaluated_images(run), num_images, saved["labels"] if saved else None),
        correct,
        metrics.get(balanced),
        is_supervised=is_classifier and is_unpretrained(run, runs),
    )


def evaluated_images(run: Run) -> tuple:
    """What says which images were evaluated, but for their number and labels."""
    flags = run.get("flags")
    steps = flags.get("eval_steps")
    return (
        run.facts.get("dataset"),
        run.facts.get("eval_split"),
        (steps, flags.get("eval_batch_size")) if steps else None,
    )


def without_copies(contenders: list[Contender]) -> tuple[list[Contender], int]:
    """The contenders without images that are near-copies of training images of one of the runs.

    Returns:
        (contenders, number of images left out); all as they are where it is not known of each of
        them which images those are, or where no others are left.
    """
    is_copy = {}
    for contender in contenders:
        which = (contender.run.get("training_copies") or {}).get("which")
        mask = which and image_bits.unpack(which)
        if mask is None:
            continue
        images = (*evaluated_images(contender.run), which["images"], which["labels"])
        is_copy[images] = mask | is_copy.get(images, False)
    masks = [is_copy.get(contender.images) for contender in contenders]
    are_known = all(contender.correct is not None for contender in contenders)
    if not are_known or any(mask is None or mask.all() for mask in masks):
        return contenders, 0
    num_copies = max((int(mask.sum()) for mask in masks), default=0)
    if not num_copies:
        return contenders, 0
    return [each.on(~mask) for each, mask in zip(contenders, masks, strict=True)], num_copies
