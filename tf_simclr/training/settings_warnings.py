"""What is odd about a run before it begins: a line of the log each, with the way out."""

import dataclasses
import math

import numpy as np
from absl import logging

from tf_simclr import config
from tf_simclr.config import Config, rules
from tf_simclr.config.backbones import RESNET, RESNET_FLAGS, is_published
from tf_simclr.config.evaluation_sections import FEW_EVALUATED
from tf_simclr.config.length import total_steps
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.source import Source, count_labels, counted, first_names
from tf_simclr.objectives import objective_class
from tf_simclr.training import optimizers
from tf_simclr.training.training_data import TrainingData

FEW_STEPS = 3  # of an epoch
QUEUED_SHARE = 4  # an epoch has so many times the past keys that are recommended
NORMAL_95 = 1.96  # standard deviations of a 95% interval


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is about to be done.

    Attributes:
        settings: the whole configuration.
        data: what is trained on.
        eval_source: what is evaluated on; None: nothing is.
    """

    settings: Config
    data: TrainingData
    eval_source: Source | None


def warn(settings: Config, data: TrainingData, eval_source: Source | None):
    """Logs what is odd about a run.

    Args:
        settings: the whole configuration.
        data: what is trained on.
        eval_source: what is evaluated on; None: nothing is.
    """
    plan = Plan(settings, data, eval_source)
    for warning in WARNINGS:
        line = warning(plan)
        if line is not None:
            logging.warning("%s", line)


def half_width(num_images: int, accuracy: float = 0.5) -> float:
    """Half the width of the 95% interval of an accuracy, in [0, 1].

    Args:
        num_images: that the accuracy was measured on.
        accuracy: the measured one; 0.5 has the widest interval.
    """
    return NORMAL_95 * math.sqrt(accuracy * (1 - accuracy) / num_images)


def _large_batch(plan):
    batch_size = plan.settings.train.train_batch_size
    num_images = plan.data.num_images
    if batch_size <= num_images:
        return None
    return (
        f"--train_batch_size={batch_size} is more than the {num_images} images there are: an image "
        "comes more than once in a batch"
    )


def _short_epochs(plan):
    """A length in epochs that makes a training of a handful of steps."""
    train = plan.settings.train
    num_images = plan.data.num_images
    if not plan.settings.mode.trains or train.train_steps:
        return None
    if num_images >= FEW_STEPS * train.train_batch_size:
        return None
    num_steps = total_steps(train, num_images)
    return (
        f"--train_epochs={train.train_epochs}: an epoch of {num_images} images has "
        f"{num_images / train.train_batch_size:.2g} steps, the whole training "
        f"{counted(num_steps, 'step')}; --train_steps says how many there are, a smaller "
        f"--train_batch_size than {train.train_batch_size} makes more of them"
    )


def _long_warmup(plan):
    settings, num_images = plan.settings, plan.data.num_images
    if not settings.mode.trains:
        return None
    asked_for = optimizers.warmup_steps(settings, num_images)
    schedule = optimizers.learning_rate_schedule(settings, num_images)
    if asked_for < schedule.total:
        return None
    outcome = f"it is cut to {schedule.warmup} steps"
    if schedule.warmup == asked_for:
        outcome = "the learning rate does not reach its peak; --long_warmup=cut cuts it to a tenth"
    return (
        f"--warmup_epochs={settings.optimizer.warmup_epochs:g}: a warm-up of {asked_for} steps in "
        f"a training of {schedule.total}: {outcome}"
    )


def _random_start(plan):
    objective = plan.settings.objective
    has_weights = objective.checkpoint or is_published(plan.settings.model.backbone)
    if objective.train_mode != "finetune" or has_weights:
        return None
    return (
        "--train_mode=finetune without --checkpoint: the network starts from random weights, as "
        "with --train_mode=supervised"
    )


def _frozen_pretraining(plan):
    settings = plan.settings
    after_block = settings.model.fine_tune_after_block
    is_pretraining = settings.objective.train_mode == "pretrain"
    if after_block < 0 or not is_pretraining or not settings.mode.trains:
        return None
    frozen = "the stem" if after_block == 0 else f"the stem and block groups 1 to {after_block}"
    return (
        f"--fine_tune_after_block={after_block}: {frozen} stay as they are in this pretraining, "
        "which the original SimCLR release refuses; leave the flag out to train all"
    )


def _drawn_batches(plan):
    """Those of the original release are others."""
    options, source = plan.settings.eval, plan.eval_source
    num_images = options.eval_steps * options.eval_batch_size
    if source is None or not num_images or num_images >= source.num_examples:
        return None
    return (
        f"--eval_steps={options.eval_steps}: {num_images} of {source.num_examples} images are "
        "evaluated, drawn at random with a fixed seed; the original SimCLR release takes the first"
    )


def _classes_without_labels(plan):
    """Classes of which no label is used: no classifier learns them."""
    source = plan.data.train_source
    if not isinstance(source, Indexed) or not source.num_labeled:
        return None
    counts = count_labels(source.labels, source.num_classes)
    missing = [source.class_names[label] for label in np.flatnonzero(counts == 0)]
    if not missing:
        return None
    return (
        f"{len(missing)} of {counted(source.num_classes, 'class')} have no label that is used "
        f"({counted(source.num_labeled, 'label')} in all) and are never predicted: "
        f"{first_names(missing)}; --labels_per_class=N keeps N of each class that has labels"
    )


def _few_evaluated(plan):
    if plan.eval_source is None or not plan.eval_source.num_labeled:
        return None
    options = plan.settings.eval
    num_images = plan.eval_source.num_labeled
    if options.eval_steps:
        num_images = min(num_images, options.eval_steps * options.eval_batch_size)
    if num_images >= FEW_EVALUATED:
        return None
    points = 100 * half_width(num_images)
    return (
        f"the evaluation is on {counted(num_images, 'labeled image')}: an accuracy of 50% is "
        f"known to ±{points:.0f} points (95% interval); more images in "
        f"--eval_split={plan.settings.data.eval_split} make smaller differences visible"
    )


def _long_queue(plan):
    """Past keys of an image's own views, which count as those of others."""
    settings, num_images = plan.settings, plan.data.num_images
    is_queued = rules.solves_pretext(settings.flat(), "moco") and settings.mode.trains
    length = settings.pretext.feature_queue
    if not is_queued or length < num_images:
        return None
    return (
        f"--feature_queue={length}: past keys of more than the {num_images} images there are, so "
        "that an image's own earlier views count as others; "
        f"--feature_queue={max(num_images // QUEUED_SHARE, 1)} keeps a quarter of an epoch"
    )


def _flags_of_resnet(plan):
    """Flags that say what the ResNet is, with another backbone."""
    model = plan.settings.model
    if not is_published(model.backbone):
        return None
    fields = config.fields()
    names = [name for name in RESNET_FLAGS if getattr(model, name) != fields[name].default]
    if not names:
        return None
    flags = ", ".join(f"--{name}" for name in names)
    return f"{flags}: of --backbone={RESNET}, without a meaning for --backbone={model.backbone}"


def _flags_of_other_methods(plan):
    """Flags of --train_mode=semi that its method does not read."""
    settings = plan.settings
    if settings.objective.train_mode != "semi":
        return None
    fields = config.fields()
    read_by_all = ("semi_method", "unlabeled_weight", "ema_decay")
    known = (*read_by_all, *objective_class(settings).flags)
    given = dataclasses.asdict(settings.semi)
    names = [name for name in given if name not in known and given[name] != fields[name].default]
    if not names:
        return None
    flags = ", ".join(f"--{name}" for name in names)
    return f"{flags}: without a meaning for --semi_method={settings.semi.semi_method}"


WARNINGS = (  # functions: plan -> a line, or None
    _large_batch,
    _short_epochs,
    _long_warmup,
    _random_start,
    _frozen_pretraining,
    _drawn_batches,
    _classes_without_labels,
    _few_evaluated,
    _long_queue,
    _flags_of_resnet,
    _flags_of_other_methods,
)
