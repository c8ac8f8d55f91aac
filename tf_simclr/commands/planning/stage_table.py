"""The plan that is printed before a training: the images, and a row for each stage."""

import dataclasses
import textwrap

import numpy as np

from tf_simclr.config import Config, backbones
from tf_simclr.config.length import total_steps
from tf_simclr.data.image_sizes import sizes_of
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.source import as_text, count_labels, counted
from tf_simclr.training import optimizers
from tf_simclr.training.experiment import Experiment
from tf_simclr.training.training_data import num_images_of

COLUMNS = 80  # of a terminal
MAX_NAMED = 12  # classes that are named
INDENT = 9  # columns before the text of a line about the images
MIN_LAST_COLUMN = 12
UNKNOWN = "?"
NO_BREAK = "\N{NO-BREAK SPACE}"
RATE = "rate: the peak; --learning_rate_scaling makes it of --learning_rate and batch"
HEADER = ("stage", "network", "pixels", "epochs", "steps", "batch", "rate", "starts from")


@dataclasses.dataclass(frozen=True)
class ImageFacts:
    """What a training reads.

    Attributes:
        name: of the data set.
        split: that is trained on.
        num_images: of this split that are trained on.
        num_unlabeled: images of `--unlabeled_dataset` besides.
        num_labels: labels that are used.
        label_counts: {class: labels that are used}; empty where they are not known.
        num_held_out: images that are held out for validation.
        eval_split: that is evaluated; empty: none.
        num_evaluated: images of it.
        sizes: int [N, 2], height and width in pixels of some images.
    """

    name: str
    split: str
    num_images: int
    num_unlabeled: int
    num_labels: int
    label_counts: dict[str, int]
    num_held_out: int
    eval_split: str
    num_evaluated: int
    sizes: np.ndarray


def text(images: ImageFacts, stages: list[tuple[str, ...]]) -> str:
    """The whole plan, at most 80 columns wide.

    Args:
        images: of the first stage.
        stages: a row of the columns `HEADER` each.
    """
    lines = [*_image_lines(images), "", *_table([HEADER, *stages]), RATE]
    return "\n".join(lines)


def _image_lines(images):
    for title, content in _contents(images):
        lines = textwrap.wrap(
            content,
            COLUMNS,
            initial_indent=title.ljust(INDENT),
            subsequent_indent=" " * INDENT,
            break_on_hyphens=False,
        )
        yield from (line.replace(NO_BREAK, " ") for line in lines)


def _contents(images):
    """Yields (title, what is said) of the images."""
    yield "images", ", ".join(_image_counts(images))
    if images.num_labels:
        yield "labels", f"{images.num_labels} of {images.num_images} images have one that is used"
    if images.label_counts:
        yield "classes", _classes(images.label_counts)
    if len(images.sizes):
        yield "sizes", _sizes(images.sizes)


def _image_counts(images):
    yield f"{images.num_images} of {images.name}, split {images.split}"
    if images.num_unlabeled:
        yield f"{images.num_unlabeled} without labels besides"
    if images.num_held_out:
        yield f"{images.num_held_out} held out for validation"
    if images.eval_split:
        yield f"{images.num_evaluated} of split {images.eval_split} for evaluation"


def _classes(label_counts):
    named = list(label_counts.items())[:MAX_NAMED]
    listed = ", ".join(f"{as_text(name)}{NO_BREAK}({count})" for name, count in named)
    more = len(label_counts) - len(named)
    return f"{len(label_counts)}: {listed}" + (f" and {more} more" if more else "")


def _sizes(sizes):
    """The median and the smallest of sizes [N, 2]."""
    height, width = np.median(sizes, axis=0).astype(int)
    smallest_height, smallest_width = sizes[np.argmin(sizes.prod(axis=1))]
    looked_at = counted(len(sizes), "image")
    if (sizes == sizes[0]).all():
        return f"{width}x{height} pixels ({looked_at} looked at)"
    return (
        f"median {width}x{height}, smallest {smallest_width}x{smallest_height} pixels "
        f"({looked_at} looked at)"
    )


def _table(table):
    """Yields the lines of a table; what is long in the last column goes on in the next line."""
    *columns, _ = zip(*table)
    widths = [max(map(len, column)) for column in columns]
    begin = sum(widths) + 2 * len(widths)
    last_width = max(COLUMNS - begin, MIN_LAST_COLUMN)
    for *cells, last in table:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths)]
        first, *others = textwrap.wrap(last, last_width) or [""]
        yield "  ".join([*padded, first]).rstrip()
        for other in others:
            yield " " * begin + other


def stage_row(settings: Config, name: str, num_images: int | None) -> tuple[str, ...]:
    """What is trained in a stage.

    Args:
        settings: of the stage.
        name: of the stage.
        num_images: of an epoch; None: not known yet.

    Returns:
        The columns `HEADER`.
    """
    train = settings.train
    epochs, steps = _length(train, num_images)
    peak = optimizers.learning_rate_schedule(settings, num_images or 1).peak
    return (
        name,
        _network(settings),
        str(settings.data.image_size),
        epochs,
        steps,
        str(train.train_batch_size),
        f"{peak:.3g}",
        _start(settings),
    )


def _length(train, num_images):
    """(epochs, steps) of a training as they are displayed."""
    if not num_images:
        if train.train_steps:
            return UNKNOWN, str(train.train_steps * train.steps_factor)
        return str(train.train_epochs), UNKNOWN
    num_steps = total_steps(train, num_images)
    if train.steps_factor > 1 or num_steps in (train.train_steps, train.min_steps):
        return f"{num_steps * train.train_batch_size / num_images:.3g}", str(num_steps)
    return str(train.train_epochs), str(num_steps)


def _network(settings):
    model = settings.model
    if backbones.is_published(model.backbone):
        return backbones.name_of(model.backbone)
    width = "" if model.width_multiplier == 1 else f" x{model.width_multiplier:g}"
    kernels = " SK" if model.sk_ratio else ""
    halves = " Lab" if settings.backbone == backbones.LAB else ""
    return f"R{model.resnet_depth}{width}{kernels}{halves}"


def _start(settings):
    """What the weights of a stage start from, and its teacher."""
    objective = settings.objective
    without = "published" if backbones.is_published(settings.model.backbone) else "random"
    start = _run_name(objective.checkpoint, settings) or without
    teacher = _run_name(objective.teacher_checkpoint, settings)
    return f"{start}, teacher {teacher}" if teacher else start


def _run_name(path, settings):
    """A run directory beside that of the stage by its name alone; any other path as it is."""
    parent, _, _ = settings.train.model_dir.rpartition("/")
    return as_text(path).removeprefix(f"{parent}/") if parent else as_text(path)


def image_facts(experiment: Experiment) -> ImageFacts:
    """What the training of an experiment reads."""
    data, settings = experiment.data, experiment.settings
    source, eval_source = data.train_source, experiment.eval_source
    has_unlabeled = bool(settings.data.unlabeled_dataset) and len(data.batch_parts) > 1
    return ImageFacts(
        name=as_text(source.name),
        split=source.split,
        num_images=source.num_examples,
        num_unlabeled=data.num_available - source.num_examples if has_unlabeled else 0,
        num_labels=source.num_labeled,
        label_counts=_label_counts(source),
        num_held_out=data.held_out.num_examples if data.held_out else 0,
        eval_split=eval_source.split if eval_source else "",
        num_evaluated=eval_source.num_examples if eval_source else 0,
        sizes=sizes_of(source, settings.train.seed),
    )


def _label_counts(source):
    if not isinstance(source, Indexed) or not source.num_labeled:
        return {}
    counts = count_labels(source.labels, source.num_classes)
    return dict(zip(source.class_names, counts.tolist()))


def stage_name(settings: Config) -> str:
    """What a stage of a chain is called: as its run directory."""
    return settings.train.model_dir.rsplit("/", 1)[-1]


def of_stages(experiment: Experiment, later: list[Config]) -> str:
    """The plan of an experiment and of the stages after it."""
    configs = [experiment.settings, *later]
    rows = []
    for settings in configs:
        name = settings.objective.train_mode
        if later:
            name = stage_name(settings)
        num_images = num_images_of(settings, experiment.settings, experiment.data)
        rows.append(stage_row(settings, name, num_images))
    return text(image_facts(experiment), rows)
