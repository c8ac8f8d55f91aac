"""Networks that exist before a run begins: weights that are evaluated only, and the teacher."""

import tensorflow as tf
from absl import logging

from tf_simclr.checkpoints import pretrained, teacher
from tf_simclr.checkpoints.class_names import numbered_names, saved_class_names
from tf_simclr.checkpoints.teacher import Teacher
from tf_simclr.checkpoints.weights import Weights
from tf_simclr.config import Config
from tf_simclr.config.rules import has_weights_from_elsewhere
from tf_simclr.data.source import Source
from tf_simclr.errors import UserError
from tf_simclr.objectives import objective_class
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory


def load_imported(settings: Config, directory: RunDirectory) -> Weights | None:
    """The weights that --mode=eval evaluates where the run has none of its own, else None.

    Args:
        settings: the whole configuration, whose --checkpoint they are.
        directory: of the run.

    Raises:
        UserError: they are of another network.
    """
    if settings.mode.trains or not settings.objective.checkpoint:
        return None
    saved = directory.read(run_files.CONFIG) if directory.exists else None
    was_trained = saved is not None and not has_weights_from_elsewhere(saved)
    # A timeout means that a training is expected in this directory.
    is_in_training = directory.in_training() or settings.eval.eval_timeout
    if was_trained or is_in_training:
        return None
    imported = Weights(settings.objective.checkpoint, offline=settings.train.offline)
    pretrained.check_same_network(imported, settings)
    return imported


def load_teacher(
    settings: Config, train_source: Source, strategy: tf.distribute.Strategy
) -> Teacher | None:
    """What a student learns from; None where there is none.

    Args:
        settings: the whole configuration, whose --teacher_checkpoint it is.
        train_source: the data, whose classes have to be those of the teacher.
        strategy: of the teacher's variables.

    Raises:
        UserError: it can't be loaded, or knows other classes.
    """
    kind = objective_class(settings)
    if kind.teacher_output is None:
        return None
    # An evaluation asks the teacher of distillation only how many classes there are, if the data
    # do not tell; a pretext task is asked again what it knows.
    is_needed = settings.mode.trains or kind.has_task or not train_source.num_labeled
    if not is_needed:
        return None
    with strategy.scope():
        network = teacher.load(
            settings.objective.teacher_checkpoint,
            settings.data.image_size,
            kind.teacher_output,
            settings.train.offline,
        )
    flag = "teacher_checkpoint"
    difference = other_classes(len(network.class_names), network.class_names, train_source)
    if difference:
        raise UserError(f"--{flag}={settings.flat()[flag]}: {difference}; they must agree")
    return network


def other_classes(num_classes, class_names, source):
    """How the classes of a network are not those of a source.

    Args:
        num_classes: of the network; 0: it has no linear head.
        class_names: of the network; numbers where they are not known.
        source: with labels or without.

    Returns:
        In words; empty if they are the same, or one of both has none.
    """
    if not source.num_labeled or not num_classes:
        return ""
    if num_classes != source.num_classes:
        return f"it knows {num_classes} classes and {source.name} has {source.num_classes}"
    has_names = class_names != numbered_names(num_classes)
    if len(class_names) != num_classes or not has_names:
        return ""
    for index, (name, expected) in enumerate(zip(class_names, source.class_names)):
        if name != expected:
            return f"its class {index} is {name}, that of {source.name} is {expected}"
    return ""


def num_classes(imported: Weights | None, teacher: Teacher | None, source: Source) -> int:
    """Outputs of the linear head; 0: no head.

    The head of imported weights is left out where it knows other classes than the data have.

    Args:
        imported: weights from elsewhere, or None.
        teacher: what a student learns from, or None.
        source: what is trained on.
    """
    if imported is not None:
        class_names = saved_class_names(imported.directory)
        difference = other_classes(imported.num_classes, class_names, source)
        if difference:
            logging.warning(
                "--checkpoint=%s: %s; its features are evaluated, its linear head is left out",
                imported.path,
                difference,
            )
        return 0 if difference else imported.num_classes
    if teacher is not None and teacher.class_names:
        return len(teacher.class_names)
    return source.num_classes if source.num_labeled else 0
