"""What a configuration stands for: strategy, sources, objective, optimizer, checkpoints. Built once a process."""

import functools

import keras
import tensorflow as tf
from absl import logging

from tf_simclr import checkpoint, distribute, optimizers
from tf_simclr.config import UserError
from tf_simclr.data import labels, sources
from tf_simclr.objectives import OBJECTIVES
from tf_simclr.run_directory import RunDirectory

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
LABELS = "labels.json"  # which labels a run may use


class Experiment:
    """Everything a run needs; nothing but the lock is written before `commit_directory`.

    Args:
        settings: `config.Config`.

    Raises:
        UserError: a run directory with another configuration, data that can't be had, a batch that can't be split.
    """

    def __init__(self, settings):
        self.settings = settings
        self.directory = RunDirectory(settings)
        if settings.train.deterministic:
            tf.config.experimental.enable_op_determinism()
        self.strategy = distribute.strategy(settings.hardware)
        logging.info("running on %s", distribute.describe(self.strategy))
        for name in ("train_batch_size", "eval_batch_size"):
            batch, replicas = settings.flat()[name], self.strategy.num_replicas_in_sync
            if batch % replicas:
                raise UserError(f"--{name}={batch}: it can't be split over {replicas} replicas, e.g. --{name}={-(-batch // replicas) * replicas}")
        self.train_source, self._labels = self._training_data()
        if settings.train.mode != "train" and self.train_source.num_labeled:
            self.eval_source.labeled()  # what is wrong with it should show now, not after the training
        self.num_steps = optimizers.total_steps(settings.train, self.train_source.num_examples)
        if settings.train.train_batch_size > self.train_source.num_examples:
            logging.warning("--train_batch_size=%d is more than the %d images there are: copies of an image in one batch count as different images",
                            settings.train.train_batch_size, self.train_source.num_examples)
        if self.kind.needs_labels and not settings.objective.checkpoint:
            logging.warning("--train_mode=%s without --checkpoint: the network starts from random weights", settings.objective.train_mode)
        self.objective = self.make_objective()
        self.schedule = optimizers.schedule(settings, self.train_source.num_examples)
        with self.strategy.scope():
            self.optimizer = optimizers.make(settings, self.objective, self.schedule)
        self.checkpoints = checkpoint.Checkpointer(
            self.directory.path, self.objective, self.optimizer, self.strategy, settings.train.keep_checkpoint_max)

    @property
    def kind(self):
        """The class of the objective."""
        return OBJECTIVES[self.settings.objective.train_mode]

    def _training_data(self):
        """(source as the objective needs it, the label subset to write down)."""
        settings = self.settings
        source = sources.load(settings.data, settings.data.train_split)
        saved = self.directory.read(LABELS) if self.directory.exists else None
        source, subset = labels.restrict(source, settings.data, settings.train.seed, saved)
        if not source.num_labeled:
            if self.kind.needs_labels:
                raise UserError(f"--train_mode={settings.objective.train_mode}: {source.name}, split {source.split}, has no labels; only pretraining works without")
            logging.info("%s has no labels: nothing that needs labels is trained or evaluated", source.name)
        return source.labeled() if self.kind.needs_labels else source, subset

    def make_objective(self):
        """The objective with its initial weights: the same ones at each call."""
        keras.utils.set_random_seed(self.settings.train.seed)
        keras.config.set_dtype_policy(POLICIES[self.settings.model.precision])
        num_classes = self.train_source.num_classes if self.train_source.num_labeled else 0
        with self.strategy.scope():
            objective = self.kind(self.settings, num_classes)
            objective.build_variables()
        if not objective.trainable_variables:
            raise UserError("nothing is left to train: --fine_tune_after_block=4 freezes the encoder, and there is neither a projection head nor a linear head with labels")
        return objective

    @functools.cached_property
    def eval_source(self):
        """The evaluation split."""
        data = self.settings.data
        source = sources.load(data, data.eval_split)
        if source.class_names != self.train_source.class_names:
            raise UserError(f"--eval_split={data.eval_split}: its classes ({', '.join(source.class_names) or 'none'}) are not those of "
                            f"{data.train_split} ({', '.join(self.train_source.class_names) or 'none'})")
        return source

    def lock_directory(self):
        """Refuses to go on if another process trains in the run directory."""
        if distribute.is_chief(self.strategy):
            self.directory.lock()

    def commit_directory(self):
        """Makes the run directory this run's own."""
        if distribute.is_chief(self.strategy):
            self.directory.commit()
            if self._labels is not None:
                self.directory.write(LABELS, self._labels)
        distribute.barrier(self.strategy)
