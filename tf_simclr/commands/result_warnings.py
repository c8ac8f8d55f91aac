"""What is odd about the metrics of a run: a line of the log each, with the way out."""

import dataclasses
import math

import numpy as np
from absl import logging
from etils import epath

from tf_simclr.commands.measurement import Measurement
from tf_simclr.config import Config, inheritance
from tf_simclr.config.registry import LEARNS_LABELS
from tf_simclr.config.values import same_data_set
from tf_simclr.data.source import first_names
from tf_simclr.runs import files as run_files
from tf_simclr.training import prior_labels
from tf_simclr.training.loss_watch import smaller_rate
from tf_simclr.training.settings_warnings import half_width

HAVE_CLASSIFIER = (*LEARNS_LABELS, "pretrain")  # in pretraining it learns on the side


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A run that was evaluated.

    Attributes:
        settings: the whole configuration.
        measurement: what was measured.
        class_names: of the classifier.
    """

    settings: Config
    measurement: Measurement
    class_names: tuple[str, ...]

    @property
    def num_labels(self) -> int:
        """Labeled images that were evaluated."""
        return int(np.sum(self.measurement.features.test["label"] >= 0))


def warn(settings: Config, measurement: Measurement, class_names: tuple[str, ...]):
    """Logs what is odd about the metrics of a run.

    Args:
        settings: the whole configuration.
        measurement: what was measured.
        class_names: of the classifier.
    """
    evaluated = Evaluated(settings, measurement, class_names)
    for warning in WARNINGS:
        line = warning(evaluated)
        if line is not None:
            logging.warning("%s", line)


def _never_predicted(evaluated):
    details = evaluated.measurement.results.details.get("trained", {}).get("classifier", {})
    classes = details.get("never_predicted")
    if not classes:
        return None
    names = [evaluated.class_names[label] for label in classes]
    return (
        f"the classifier never predicts {len(classes)} of the classes of the evaluated images: "
        f"{first_names(names)}"
    )


def _below_probe(evaluated):
    """A trained classifier that is worse than logistic regression on frozen features."""
    settings = evaluated.settings
    accuracy = evaluated.measurement.tags.get("eval/label_top_1_accuracy")
    if settings.objective.train_mode not in HAVE_CLASSIFIER or accuracy is None:
        return None
    probes = {
        "the features of the weights that it started from": _probe_of_start(evaluated),
        "its own features": evaluated.measurement.tags.get("eval/linear_probe_accuracy"),
    }
    known = {name: value for name, value in probes.items() if value is not None}
    if not known or not evaluated.num_labels:
        return None
    name = max(known, key=known.get)
    probe = known[name]
    noise = math.hypot(*(half_width(evaluated.num_labels, value) for value in (accuracy, probe)))
    if probe - accuracy <= noise:
        return None
    return (
        f"the classifier has {accuracy:.1%} on {evaluated.num_labels} images, and logistic "
        f"regression on {name} {probe:.1%}, which is more than chance makes (±{100 * noise:.1f} "
        f"points): "
        f"{_way_out(settings)}"
    )


def _probe_of_start(evaluated):
    """The accuracy of the probe in the run that a training started from; None: not comparable."""
    checkpoint = evaluated.settings.objective.checkpoint
    if not checkpoint or not _has_same_labels(checkpoint, evaluated.settings):
        return None
    # The best weights have none: the metrics of their run are those of its last ones.
    saved = run_files.read_json(epath.Path(checkpoint) / run_files.RESULT) or {}
    description = evaluated.measurement.description
    evaluated_with = saved.get("evaluated_with", {})
    flags = description["evaluated_with"]
    same_images = all(evaluated_with.get(name) == flags[name] for name in ("eval_split", *LIMITS))
    if not same_images or saved.get("labels") != description["labels"]:
        return None
    return saved.get("eval/linear_probe_accuracy")


def _has_same_labels(checkpoint, settings):
    """Whether the run that a training started from had the same data and labels."""
    saved, flags = inheritance.saved_flags(checkpoint), settings.flat()
    if saved is None or not same_data_set(saved["dataset"], flags["dataset"]):
        return False
    # The seed and the share held out decide nothing where all labels are used.
    uses_all = flags["label_fraction"] == 1 and not flags["labels_per_class"]
    uses_all = uses_all and not flags["eval_every_epochs"]
    without_effect = {"seed", "holdout_fraction"} if uses_all else set()
    names = set(prior_labels.HELD_OUT_BY) - without_effect
    return prior_labels.has_same_labels(saved, flags, names)


LIMITS = ("eval_steps", "eval_batch_size")  # flags that leave some images out


def _way_out(settings):
    if settings.objective.train_mode == "pretrain":
        weights = settings.train.model_dir
        if not settings.mode.trains:  # those of elsewhere, of which there is no checkpoint here
            weights = settings.objective.checkpoint or weights
        return (
            "it was trained on the side; a better one of these features is made by "
            "--mode=train_then_eval --train_mode=finetune --probe_init_logits_layer "
            f"--checkpoint={weights} --model_dir=NEW, with the same flags of data and labels"
        )
    ways = [smaller_rate(settings.optimizer.learning_rate), "fewer --train_epochs or --train_steps"]
    if not settings.model.probe_init_logits_layer:
        ways.insert(0, "--probe_init_logits_layer, which starts with that regression")
    return f"try {', '.join(ways[:-1])}, or {ways[-1]}"


WARNINGS = (_never_predicted, _below_probe)  # functions: evaluated -> a line, or None
