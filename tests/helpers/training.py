"""A training without a run directory."""

import itertools

import keras
import tensorflow as tf

from tf_simclr.checkpoints import teacher
from tf_simclr.config.registry import PRETEXTS
from tf_simclr.data import datasets, mixture, pipeline
from tf_simclr.objectives import WITH_LABELS, objective_class
from tf_simclr.training import optimizers
from tf_simclr.training.distributed_step import TrainStep
from tf_simclr.training.experiment import DTYPE_POLICIES

EACH = [{"pretext": name} for name in PRETEXTS] + [
    {"train_mode": name} for name in WITH_LABELS
]  # of the objectives
WITH_STATE = [  # whose trainings have a state besides the weights and their optimizer
    {"memory_size": 20},
    {"pretext": "colorization"},
    {"pretext": "context_encoder", "adversarial_weight": 0.1},
    {"pretext": "exemplar", "sampled_classes": 20},
]


class Training:
    """The parts of a training."""

    def __init__(self, settings, strategy=None, source=None, unlabeled=None):
        self.settings, self.strategy = settings, strategy or tf.distribute.get_strategy()
        keras.config.set_dtype_policy(DTYPE_POLICIES[settings.model.precision])
        keras.utils.set_random_seed(0)
        self.source = source or datasets.load(settings.data, "train")
        self.parts = mixture.batch_parts(
            self.source,
            unlabeled,
            settings.data.unlabeled_ratio,
            settings.train.train_batch_size,
            self.strategy.num_replicas_in_sync,
        )
        with self.strategy.scope():
            self.objective = objective_class(settings)(
                settings, 10, sum(part.source.num_examples for part in self.parts)
            )
            self.objective.teacher = linear_teacher(settings.data.image_size)
            self.objective.build_variables()
            self.optimizer = optimizers.make_optimizer(
                settings,
                self.objective,
                optimizers.learning_rate_schedule(settings, self.source.num_examples),
            )
        self.objective.start()
        self.step = TrainStep(self.objective, self.optimizer, settings, self.strategy)

    def run(self, steps, start=0, after=lambda step: None):
        """The metrics of `steps` steps; `after` is called after each, with its number."""
        history = []
        batches = pipeline.training_batches(
            self.parts, self.objective.example, 0, start, self.strategy
        )
        for number, batch in enumerate(itertools.islice(batches, steps), start + 1):
            history.append(self.step(batch))
            after(number)
        return history


def linear_teacher(size):
    """A teacher that is sure of itself and knows nothing."""
    weights = tf.random.stateless_normal([size * size * 3, 10], [1, 2])
    return teacher.Teacher(
        lambda images: tf.reshape(images, [-1, size * size * 3]) @ weights, tuple("0123456789"), []
    )


def values_of(objective):
    return {v.path: v.numpy() for v in objective.variables}
