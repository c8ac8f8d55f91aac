"""Network and loss before any training."""

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr.checkpoints import backbones
from tf_simclr.checkpoints.teacher import Teacher
from tf_simclr.config import Config
from tf_simclr.config.registry import LEARNS_LABELS
from tf_simclr.data.source import Source
from tf_simclr.errors import UserError
from tf_simclr.objectives import objective_class
from tf_simclr.objectives.base import Objective
from tf_simclr.objectives.supervised import balanced_weights
from tf_simclr.training import memory_limit


def make_objective(
    settings: Config,
    *,
    num_classes: int,
    num_images: int,
    strategy: tf.distribute.Strategy,
    teacher: Teacher | None,
) -> Objective:
    """The objective with its initial weights, which are the same at each call.

    Raises:
        UserError: it has nothing to train, or its batches do not fit into the memory.
    """
    keras.utils.set_random_seed(settings.train.seed)
    with strategy.scope():
        objective = objective_class(settings)(settings, num_classes, num_images)
        objective.teacher = teacher
        if settings.mode.trains:
            memory_limit.check(objective, settings, strategy)
        objective.build_variables()
    backbones.check_replicas(objective.encoder, settings, strategy)
    if not objective.trainable_variables:
        raise UserError(
            "nothing is left to train: --fine_tune_after_block=4 freezes the encoder, and there "
            "is neither a projection head nor a linear head with labels"
        )
    return objective


def class_weights(settings: Config, train_source: Source) -> np.ndarray | None:
    """float32 [C] for --class_weights=balanced of a training on labels, else None."""
    learns_labels = settings.objective.train_mode in LEARNS_LABELS
    if not (settings.mode.trains and learns_labels and settings.eval.balances_classes):
        return None
    _, labels = train_source.example_ids()
    weights = balanced_weights(labels, train_source.num_classes)
    logging.info(
        "the losses of labels are weighted by --class_weights=balanced: from %.3g to %.3g a class",
        weights[weights > 0].min(),
        weights.max(),
    )
    return weights
