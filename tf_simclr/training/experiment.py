"""What a configuration stands for: devices, data, objective, optimizer, checkpoints."""

import dataclasses
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf
from etils import epath

from tf_simclr import distribute
from tf_simclr.checkpoints import backbones
from tf_simclr.checkpoints.checkpointer import Checkpointer
from tf_simclr.checkpoints.class_names import class_names_or_numbers, saved_class_names
from tf_simclr.checkpoints.teacher import Teacher
from tf_simclr.checkpoints.weights import Weights
from tf_simclr.config import Config
from tf_simclr.config.backbones import is_published
from tf_simclr.config.length import total_steps
from tf_simclr.data import crop_check, datasets
from tf_simclr.data.source import Source
from tf_simclr.data.unreadable import find_unreadable
from tf_simclr.export import formats
from tf_simclr.models.network import FrozenNetwork
from tf_simclr.objectives.base import Objective
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.runs.metrics_log import MetricsLog
from tf_simclr.runs.tracking import Tracking
from tf_simclr.training import changed_data, optimizers, settings_warnings
from tf_simclr.training.devices import set_up_devices
from tf_simclr.training.eval_data import load_eval_source, warn_of_unlabeled_copies
from tf_simclr.training.initial_objective import class_weights, make_objective
from tf_simclr.training.optimizers import CombinedOptimizer, WarmupCosine
from tf_simclr.training.prior_networks import load_imported, load_teacher, num_classes
from tf_simclr.training.training_data import (
    TrainingData,
    check_comparable,
    check_numbered,
    load_training_data,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """Everything that a run needs, see `build_experiment`.

    Nothing but the lock is written before `commit_directory`.

    Attributes:
        settings: the whole configuration.
        directory: of the run.
        strategy: how the work is distributed.
        data: what is trained on.
        eval_source: what is evaluated on; None where --mode evaluates nothing.
        imported: the weights to evaluate where the run has none of its own, else None.
        teacher: what a student learns from, else None.
        objective: network and loss, with initial weights.
        learning_rate: the schedule.
        optimizer: built for the objective.
        checkpoints: of the training.
        metrics_log: of training and evaluation.
        on_commit: called when the run directory becomes this run's own, on the process that
            writes; None: nothing to do.
        related: run directories of the stages before.
    """

    settings: Config
    directory: RunDirectory
    strategy: tf.distribute.Strategy
    data: TrainingData
    eval_source: Source | None
    imported: Weights | None
    teacher: Teacher | None
    objective: Objective
    learning_rate: WarmupCosine
    optimizer: keras.optimizers.Optimizer | CombinedOptimizer
    checkpoints: Checkpointer
    metrics_log: MetricsLog
    on_commit: Callable[[], None] | None = None
    related: Sequence[epath.Path] = ()

    @property
    def num_steps(self) -> int:
        """Steps of the whole training."""
        return total_steps(self.settings.train, self.data.num_images)

    @property
    def num_classes(self) -> int:
        """Outputs of the linear head; 0: no head."""
        head = self.objective.supervised_head
        return head.units if head is not None else 0

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the linear head's outputs."""
        names = [self.data.train_source.class_names]
        if self.teacher:
            names.append(self.teacher.class_names)
        if self.imported:
            names.append(saved_class_names(self.imported.directory))
        return class_names_or_numbers(self.num_classes, *names)

    @property
    def may_know_labels(self) -> bool:
        """Whether the features may have been learned from labels, here or where they come from."""
        objective = self.settings.objective
        is_pretrained = objective.train_mode == "pretrain"
        starts_anew = not (objective.checkpoint or objective.teacher_checkpoint)
        return not (is_pretrained and starts_anew)

    @property
    def data_description(self) -> dict:
        """The content of `data.json`: what the run is trained on.

        Of weights from elsewhere only the names of the classes are known.
        """
        trained_on = {}
        if not self.imported:
            trained_on["images"] = self.data.num_available
            trained_on["labels"] = self.data.train_source.num_labeled
            if self.objective.needs_index:
                trained_on["image_ids"] = self.data.image_ids
        return {**trained_on, "class_names": self.class_names}

    def make_baseline(self, name: str) -> Objective | FrozenNetwork:
        """A network of --baselines: a published one, or this one before any training.

        The latter has random weights, also of a published backbone.
        """
        if is_published(name):
            return backbones.load_frozen(name, self.settings.data.image_size, self.strategy)
        return make_objective(
            self.settings,
            num_classes=self.num_classes,
            num_images=self.data.num_images,
            strategy=self.strategy,
            teacher=self.teacher,
        )

    def unreadable_images(self) -> list[tuple[str, str]]:
        """[(name, reason)] of the images that can't be read any more, of all that the run reads."""
        sources = self.data.sources
        if self.eval_source is not None:
            sources.append(self.eval_source)
        return [image for unreadable in find_unreadable(sources) for image in unreadable.images]

    def lock_directory(self):
        """Refuses to continue if another process trains in the run directory."""
        if distribute.is_chief(self.strategy):
            self.directory.lock()

    def commit_directory(self):
        """Makes the run directory this run's own."""
        if distribute.is_chief(self.strategy):
            self._write_new_length()
            self.write_description(self.directory)
            if self.on_commit is not None:
                self.on_commit()
        distribute.barrier(self.strategy)

    def _write_new_length(self):
        """A run that is continued is not finished, though it was at its last evaluation."""
        if self.directory.other_length() is None:
            return
        result = self.directory.read(run_files.RESULT)
        if result is not None:
            self.directory.write(run_files.RESULT, {**result, "total_steps": self.num_steps})

    def write_description(self, directory: RunDirectory):
        """Writes what stands beside weights of this run.

        Args:
            directory: has the settings of this run.
        """
        directory.commit()
        directory.write(run_files.DATA, self.data_description)
        backbones.write(directory, self.settings.model)
        if self.data.label_subset is not None:
            directory.write(run_files.LABELS, self.data.label_subset)
        if self.data.division is not None:
            directory.write(run_files.DIVISION, self.data.division)
        if self.data.held_out_ids is not None:
            directory.write(run_files.HELD_OUT, self.data.held_out_ids)


def build_experiment(
    settings: Config,
    *,
    related: Sequence[epath.Path] = (),
    later: list[Config] = (),
    alone: bool = True,
    selected_labels: dict | None = None,
    on_commit: Callable[[], None] | None = None,
) -> Experiment:
    """Builds everything that a run needs; what is wrong shows here, before any work.

    Args:
        settings: the whole configuration.
        related: run directories of the stages before, whose label subset and results of baselines
            are used where they are of the same question.
        later: configurations that run after this one.
        alone: whether it is a single run, not a stage of a chain; only then may --mode=eval be of
            --checkpoint itself.
        selected_labels: see `load_training_data`.
        on_commit: see `Experiment`.

    Raises:
        UserError: a run directory with another configuration, data that can't be had, a batch
            that can't be split.
    """
    if settings.mode.evaluates:
        formats.require(settings.export.export_formats)
    directory = RunDirectory(settings.train.model_dir, settings)
    backbones.require(settings, directory.path)
    strategy = set_up_devices(settings)
    backbones.prepare(settings, directory.path)
    data = load_training_data(
        settings,
        directory=directory,
        related=related,
        later=later,
        num_replicas=strategy.num_replicas_in_sync,
        selected_labels=selected_labels,
    )
    if data.value_range != settings.data.value_range:
        settings = settings.replace(value_range=data.value_range)
        directory = RunDirectory(settings.train.model_dir, settings)
    eval_source = _load_evaluation_data(settings, data) if settings.mode.evaluates else None
    _check_data(settings, data, eval_source, directory)
    imported = load_imported(settings, directory) if alone else None
    if imported is None:
        changed_data.check_classes(directory, data.train_source)
    teacher = None
    if imported is None:
        teacher = load_teacher(settings, data.train_source, strategy)
    objective = make_objective(
        settings,
        num_classes=num_classes(imported, teacher, data.train_source),
        num_images=data.num_images,
        strategy=strategy,
        teacher=teacher,
    )
    objective.class_weights = class_weights(settings, data.train_source)
    learning_rate = optimizers.learning_rate_schedule(settings, data.num_images)
    with strategy.scope():
        optimizer = optimizers.make_optimizer(settings, objective, learning_rate)
    checkpoints = Checkpointer(
        directory.path, objective, optimizer, strategy, settings.train.keep_checkpoint_max
    )
    return Experiment(
        settings=settings,
        directory=directory,
        strategy=strategy,
        data=data,
        eval_source=eval_source,
        imported=imported,
        teacher=teacher,
        objective=objective,
        learning_rate=learning_rate,
        optimizer=optimizer,
        checkpoints=checkpoints,
        metrics_log=MetricsLog(directory, Tracking(directory, settings)),
        on_commit=on_commit,
        related=related,
    )


def _check_data(settings, data, eval_source, directory):
    """Refuses data that the training can't learn from, and says what will be cropped or ignored."""
    check_numbered(data, settings, directory)
    if settings.mode.trains:
        check_comparable(data, settings)
    changed_data.warn_of_other_images(settings, directory, data)
    settings_warnings.warn(settings, data, eval_source)
    evaluated = eval_source or data.held_out or data.train_source
    crop_check.warn_of_cropping(evaluated, settings.preprocessing)


def _load_evaluation_data(settings, data):
    """The evaluation split, after a look at all data sets that an evaluation reads."""
    eval_source = load_eval_source(settings, data.train_source)
    warn_of_unlabeled_copies(data, eval_source)
    if data.train_source.num_labeled:
        eval_source.labeled()  # what is wrong with it should show now, not after the training
    for name in settings.eval.transfer_datasets:
        datasets.train_and_test(settings.data, name)
    return eval_source
