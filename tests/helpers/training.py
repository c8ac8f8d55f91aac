"""A training without a run directory."""

import itertools
import random

import keras
import numpy as np
import tensorflow as tf

from tf_simclr.checkpoints import teacher, weights
from tf_simclr.config.registry import PRETEXTS, SEMI_METHODS
from tf_simclr.data import datasets, mixture, pipeline
from tf_simclr.objectives import WITH_LABELS, objective_class
from tf_simclr.training import optimizers
from tf_simclr.training.devices import DTYPE_POLICIES
from tf_simclr.training.train_step import TrainStep

EACH = [{"pretext": name} for name in PRETEXTS] + [{"train_mode": name} for name in WITH_LABELS]
SEMI = [{"train_mode": "semi", "semi_method": name} for name in SEMI_METHODS]
of_methods = lambda *names: [flags for flags in SEMI if flags["semi_method"] in names]
NUM_LABELS = 20  # of the training images, where some have to be without
WITH_STATE = [  # objectives whose training has a state besides the weights and their optimizer
    {"memory_size": 20},
    {"pretext": "colorization"},
    {"pretext": "context_encoder", "adversarial_weight": 0.1},
    {"pretext": "exemplar", "sampled_classes": 20},
    {"pretext": "byol"},
    {"pretext": "moco"},
    {"pretext": "lejepa"},
    {"pretext": "pirl"},
    {"pretext": "cmc"},
    {"pretext": "instance_discrimination", "nce_negatives": 20, "proximal_weight": 1.0},
]
BATCHES = {}  # of `same_batches`


class Training:
    """The parts of a training."""

    def __init__(self, settings, strategy=None, source=None, unlabeled=None):
        self.settings = settings
        self.strategy = strategy or tf.distribute.get_strategy()
        keras.config.set_dtype_policy(DTYPE_POLICIES[settings.model.precision])
        random.seed(0)  # of the weights
        kind = objective_class(settings)
        source = source or load_source(settings)
        self.batch_parts = mixture.batch_parts(
            source,
            unlabeled,
            kind.unlabeled_ratio(settings),
            settings.train.train_batch_size,
            self.strategy.num_replicas_in_sync,
        )
        with self.strategy.scope():
            num_images = sum(part.source.num_examples for part in self.batch_parts)
            self.objective = kind(settings, 10, num_images)
            self.objective.teacher = linear_teacher(settings.data.image_size)
            self.objective.build_variables()
            learning_rate = optimizers.learning_rate_schedule(settings, source.num_examples)
            self.optimizer = optimizers.make_optimizer(settings, self.objective, learning_rate)
        self.objective.start()
        self.step = TrainStep(self.objective, self.optimizer, settings, self.strategy)

    def batches(self, start=0):
        """Batches from step `start` on, with the seed 0."""
        example = self.objective.example
        return iter(pipeline.training_batches(self.batch_parts, example, 0, start, self.strategy))

    def first_batch(self):
        return next(self.batches())

    def run(self, steps, start=0, after=lambda step: None):
        """The metrics of `steps` steps; `after` is called after each, with its number."""
        history = []
        batches = itertools.islice(self.batches(start), steps)
        for number, batch in enumerate(batches, start + 1):
            history.append(self.step(batch))
            after(number)
        return history


def load_source(settings):
    """The training images, with labels of a few where others are needed as well."""
    source = datasets.load(settings.data, "train")
    if settings.objective.train_mode == "semi":
        source = source.with_labels_of(np.arange(NUM_LABELS))
    return source


def same_batches(training, count):
    """The first batches, which all trainings with the same examples share."""
    options = training.settings
    parts = tuple((part.source.num_examples, part.batch_size) for part in training.batch_parts)
    example = type(training.objective).example
    key = (example, options.data, options.augment, options.pretext, options.semi, parts)
    if len(BATCHES.get(key, [])) < count:
        BATCHES[key] = list(itertools.islice(training.batches(), count))
    return BATCHES[key][:count]


def tinted(batch):
    """Digits in colors, each view in one of its own."""
    num_views = batch["views"].shape[1]
    shape = [len(batch["label"]), num_views, 1, 1, 3]
    views = tf.cast(batch["views"], tf.float32) * tf.random.stateless_uniform(shape, [1, 2])
    return {**batch, "views": tf.cast(views, tf.uint8)}


def linear_teacher(size):
    """A confident teacher with random weights."""
    num_values = size * size * 3
    weights = tf.random.stateless_normal([num_values, 10], [1, 2])
    predict = lambda images: tf.reshape(images, [-1, num_values]) @ weights
    return teacher.Teacher(predict, 10, [], tuple("0123456789"))


def load_linear_teacher(settings, source, strategy):
    """In the place of `prior_networks.load_teacher`."""
    has_teacher = objective_class(settings).teacher_output is not None
    return linear_teacher(settings.data.image_size) if has_teacher else None


def initialize_from(objective, path):
    """Starts an objective from weights, as a training does."""
    weights.start_from(objective, weights.Weights(path), objective.inherited())


def values_of(objective):
    return {v.path: v.numpy() for v in objective.variables}


def state_of(training):
    """{path: value} of all that a step may change."""
    optimizer = {v.path: v.numpy() for v in training.optimizer.variables}
    return {**values_of(training.objective), **optimizer}


def per_replica(strategy, values):
    """A distributed value of one value for each replica."""
    return strategy.experimental_distribute_values_from_function(
        lambda context: values[context.replica_id_in_sync_group]
    )


def split_batch(strategy, batch):
    """A batch of tensors, split over two replicas."""
    return {name: per_replica(strategy, tf.split(value, 2)) for name, value in batch.items()}


def assert_replicas_agree(objective):
    for v in objective.variables:
        first, second = [copy.numpy() for copy in v.value.values]
        np.testing.assert_array_equal(first, second, err_msg=v.path)
