"""What a configuration stands for: strategy, sources, objective, optimizer, checkpoints. Built once for each stage of a process."""

import functools
import hashlib

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from etils import epath

from tf_simclr import distribute
from tf_simclr.checkpoints import checkpointer, pretrained, teacher, weights
from tf_simclr.config.rules import has_weights_from_elsewhere
from tf_simclr.data import datasets, holdout, label_subset, mixture
from tf_simclr.data.source import Indexed
from tf_simclr.errors import UserError
from tf_simclr.export import formats
from tf_simclr.objectives import objective_class
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.runs.files import read_json
from tf_simclr.training import optimizers

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
LABELS = "labels.json"  # which labels a run may use


class Experiment:
    """Everything a run needs; nothing but the lock is written before `commit_directory`.

    Args:
        settings: `config.Config`.
        related: run directories whose label subset is used if it is the same question that is asked here.
        later: configurations that run after this one; if they need labels of the same data, their lack shows now.
        on_commit: called when the run directory becomes this run's own, on the process that writes.
        alone: whether it is a single run, not a stage of a chain; only then --mode=eval may be of --checkpoint itself.

    Raises:
        UserError: a run directory with another configuration, data that can't be had, a batch that can't be split.
    """

    def __init__(self, settings, related=(), later=(), on_commit=None, alone=True):
        self.settings, self._later, self._on_commit, self._alone = settings, later, on_commit, alone
        if settings.train.mode != "train":
            formats.require(settings.export.export_formats)
        self.directory = RunDirectory(settings.train.model_dir, settings)
        if settings.train.deterministic:
            tf.config.experimental.enable_op_determinism()
        self.strategy = distribute.get_strategy(settings.hardware)
        logging.info("running on %s", distribute.describe(self.strategy))
        distribute.check_batch_sizes(
            self.strategy, settings, ("train_batch_size", "eval_batch_size")
        )
        distribute.check_accumulation(self.strategy, settings.train)
        keras.config.set_dtype_policy(POLICIES[settings.model.precision])
        source, self._labels = self._training_data(related)
        self.train_source, self.held_out = self._hold_out(source)
        self.parts, self.num_known = self._parts()
        if settings.train.mode != "train" and self.train_source.num_labeled:
            self.eval_source.labeled()  # what is wrong with it should show now, not after the training
        for name in settings.eval.transfer_datasets if settings.train.mode != "train" else ():
            datasets.train_and_test(settings.data, name)
        self.num_images = sum(part.source.num_examples for part in self.parts)  # of an epoch
        self._check_numbered()
        self.num_steps = optimizers.total_steps(settings.train, self.num_images)
        if settings.train.train_batch_size > self.num_images:
            logging.warning(
                "--train_batch_size=%d is more than the %d images there are: an image comes more than once in a batch",
                settings.train.train_batch_size,
                self.num_images,
            )
        if settings.objective.train_mode == "finetune" and not settings.objective.checkpoint:
            logging.warning(
                "--train_mode=finetune without --checkpoint: the network starts from random weights, as with --train_mode=supervised"
            )
        self.imported = self._imported()
        self.teacher = self._teacher()
        self.objective = self.make_objective()
        self.objective.teacher = self.teacher
        self.schedule = optimizers.learning_rate_schedule(settings, self.num_images)
        with self.strategy.scope():
            self.optimizer = optimizers.make_optimizer(settings, self.objective, self.schedule)
        self.checkpoints = checkpointer.Checkpointer(
            self.directory.path,
            self.objective,
            self.optimizer,
            self.strategy,
            settings.train.keep_checkpoint_max,
        )

    @property
    def kind(self):
        """The class of the objective."""
        return objective_class(self.settings)

    def _training_data(self, related):
        """(the labelled images, or all if there are no labels; the label subset to write down)."""
        settings = self.settings
        source = datasets.load(settings.data, settings.data.train_split)
        starts = [
            epath.Path(path)
            for path in (settings.objective.checkpoint, settings.objective.teacher_checkpoint)
            if path
        ]
        places = [
            self.directory.path,
            *related,
            *(path if path.is_dir() else path.parent for path in starts),
        ]
        written = [read_json(place / LABELS) for place in places]
        source, subset = label_subset.restrict(
            source, settings.data, settings.train.seed, [found for found in written if found]
        )
        if not source.num_labeled:
            for needy in (
                settings,
                *(other for other in self._later if other.data == settings.data),
            ):
                mode = needy.objective.train_mode
                if objective_class(needy).labeled_only(needy):
                    raise UserError(
                        f"--train_mode={mode}: {source.name}, split {source.split}, has no labels; only pretraining and distillation work without"
                    )
            logging.info(
                "%s has no labels: nothing that needs labels is trained or evaluated", source.name
            )
        return source, subset

    def _hold_out(self, source):
        """(what is trained on, what the training is evaluated on while it runs, or None); after the labels were chosen, so that no more of them are used."""
        options = self.settings.eval
        if not options.eval_every_epochs:
            return source, None
        return holdout.split(source, options.holdout_fraction, self.settings.train.seed)

    def _parts(self):
        """(what every batch is made of, how many images there are to choose from)."""
        settings = self.settings
        if self.kind.labeled_only(settings):
            source = self.train_source.labeled()
            return [mixture.BatchPart(source, settings.train.train_batch_size)], source.num_examples
        unlabeled = datasets.load_unlabeled(settings.data)
        parts = mixture.batch_parts(
            self.kind.chosen(settings, self.train_source),
            unlabeled and self.kind.chosen(settings, unlabeled),
            settings.data.unlabeled_ratio,
            settings.train.train_batch_size,
            self.strategy.num_replicas_in_sync,
        )
        if len(parts) > 1:
            logging.info(
                "every batch: %s",
                ", ".join(
                    f"{part.batch_size} of {part.source.num_examples} images of {part.source.name} "
                    f"({part.source.num_labeled} labels)"
                    for part in parts
                ),
            )
        return parts, sum(
            source.num_examples for source in (self.train_source, unlabeled) if source
        )

    def _check_numbered(self):
        """Raises UserError if the objective has to know each image by a number, and there is a stream, which has none, or the run began with others."""
        if not self.kind.needs_index:
            return
        each = f"--pretext={self.settings.pretext.pretext}: each image is a class of its own, and"
        streams = [part.source.name for part in self.parts if not isinstance(part.source, Indexed)]
        if streams:
            raise UserError(
                f"{each} {streams[0]} is read as a stream, in which none has a number; "
                "--seed_images=8000 takes so many of them, --cache_dataset keeps all in memory"
            )
        if self.num_images < 2:
            raise UserError(f"{each} there is one to train on; at least 2 are needed")
        before = self.directory.read(run_files.DATA) or {}
        if before.get("image_ids", self._image_ids) != self._image_ids:
            raise UserError(
                f"--model_dir={self.directory.path}: each image is a class of its own, and those here ({self.num_known}) are not those that the run began with "
                f"({before['images']}); bring them back, or give a new --model_dir"
            )

    @functools.cached_property
    def _image_ids(self):
        """Text that is another one if the images that are trained on have other names, or another order."""
        names = [
            name
            for part in self.parts
            for name in part.source.names_of(np.arange(part.source.num_examples))
        ]
        return hashlib.sha256("\n".join(names).encode()).hexdigest()

    def _teacher(self):
        settings = self.settings
        if not self.kind.needs_teacher or (
            settings.train.mode == "eval" and self.train_source.num_labeled
        ):
            return None  # an evaluation needs to know from it how many classes there are, if the data do not tell
        with self.strategy.scope():
            found = teacher.load(settings.objective.teacher_checkpoint, settings.data.image_size)
        self._check_classes("teacher_checkpoint", found.num_classes, found.class_names)
        return found

    def _imported(self):
        """The weights to evaluate where the run has none of its own, None otherwise."""
        settings = self.settings
        if settings.train.mode != "eval" or not settings.objective.checkpoint or not self._alone:
            return None
        saved = self.directory.read(run_files.CONFIG) if self.directory.exists else None
        trained_here = saved is not None and not has_weights_from_elsewhere(saved)
        if (
            trained_here or self.directory.in_training() or settings.eval.eval_timeout
        ):  # a training that is, or will be
            return None
        found = weights.Weights(settings.objective.checkpoint)
        pretrained.check_same_network(found, settings)
        self._check_classes(
            "checkpoint", found.num_classes, pretrained.saved_class_names(found.place)
        )
        return found

    def _check_classes(self, flag, count, names):
        """Raises UserError if what `flag` names knows other classes than the data have."""
        source = self.train_source
        if not source.num_labeled or not count:
            return
        name = f"--{flag}={self.settings.flat()[flag]}"
        if count != source.num_classes:
            raise UserError(
                f"{name}: it knows {count} classes and {source.name} has {source.num_classes}; they must agree"
            )
        if len(names) == count and names not in (
            source.class_names,
            pretrained.numbered_names(count),
        ):
            first = next(i for i in range(count) if names[i] != source.class_names[i])
            raise UserError(
                f"{name}: its class {first} is {names[first]}, that of {source.name} is {source.class_names[first]}; they must agree"
            )

    def _num_classes(self):
        """Outputs of the linear head; 0: no head."""
        known = self.teacher or self.imported
        return (
            known.num_classes
            if known
            else self.train_source.num_classes
            if self.train_source.num_labeled
            else 0
        )

    @property
    def class_names(self):
        """The names of the linear head's outputs."""
        count = (
            self.objective.supervised_head.units
            if self.objective.supervised_head is not None
            else 0
        )
        return pretrained.class_names_or_numbers(
            count, self.train_source.class_names, self.teacher.class_names if self.teacher else ()
        )

    def make_objective(self):
        """The objective with its initial weights: the same ones at each call."""
        keras.utils.set_random_seed(self.settings.train.seed)
        with self.strategy.scope():
            objective = self.kind(self.settings, self._num_classes(), self.num_images)
            objective.build_variables()
        if not objective.trainable_variables:
            raise UserError(
                "nothing is left to train: --fine_tune_after_block=4 freezes the encoder, and there is neither a projection head nor a linear head with labels"
            )
        return objective

    @property
    def data(self):
        """What the run is trained on, as it is written down; of weights from elsewhere only the names of the classes."""
        trained_on = (
            {}
            if self.imported
            else {"images": self.num_known, "labels": self.train_source.num_labeled}
        )
        if trained_on and self.kind.needs_index:
            trained_on["image_ids"] = self._image_ids
        return {**trained_on, "class_names": self.class_names}

    @functools.cached_property
    def eval_source(self):
        """The evaluation split."""
        data = self.settings.data
        source = datasets.load(data, data.eval_split)
        if source.class_names != self.train_source.class_names:
            raise UserError(
                f"--eval_split={data.eval_split}: its classes ({', '.join(source.class_names) or 'none'}) are not those of "
                f"{data.train_split} ({', '.join(self.train_source.class_names) or 'none'})"
            )
        return source

    def unreadable_images(self):
        """[(name, reason)] of the images that can't be read any more, of all that the run looks at."""
        known = [
            self.train_source,
            self.held_out,
            self.__dict__.get("eval_source"),
            *(part.source for part in self.parts),
        ]
        return [
            one
            for _, here in mixture.unreadable([source for source in known if source is not None])
            for one in here
        ]

    def lock_directory(self):
        """Refuses to go on if another process trains in the run directory."""
        if distribute.is_chief(self.strategy):
            self.directory.lock()

    def commit_directory(self):
        """Makes the run directory this run's own."""
        if distribute.is_chief(self.strategy):
            before, now = (
                (self.directory.read(run_files.DATA) or {}).get("images", self.num_known),
                self.num_known,
            )
            if before != now:
                logging.warning(
                    "the run began with %d images and there are %d now: their order and the steps of an epoch are others from here on",
                    before,
                    now,
                )
            self.write_about(self.directory)
            if self._on_commit is not None:
                self._on_commit()
        distribute.barrier(self.strategy)

    def write_about(self, directory):
        """Writes what stands beside weights of this run into `directory`, a `RunDirectory` of its settings."""
        directory.commit()
        directory.write(run_files.DATA, self.data)
        if self._labels is not None:
            directory.write(LABELS, self._labels)
