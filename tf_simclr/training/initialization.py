"""The weights that a new training starts from."""

import numpy as np
import tensorflow as tf

from tf_simclr.checkpoints import backbones, weights
from tf_simclr.config import Config
from tf_simclr.config.backbones import is_published
from tf_simclr.data.source import Source
from tf_simclr.errors import UserError
from tf_simclr.evaluation import features
from tf_simclr.evaluation.metrics import linear_probe
from tf_simclr.objectives.base import Objective


def initialize(
    objective: Objective,
    *,
    settings: Config,
    train_source: Source,
    strategy: tf.distribute.Strategy,
):
    """Gives the objective the weights that a new training starts from.

    Args:
        objective: with random weights.
        settings: the whole configuration.
        train_source: the training images, of which those with a label fit the linear head.
        strategy: of the objective's variables.

    Raises:
        UserError: the checkpoint can't be used, or there are too few labels.
    """
    if settings.objective.checkpoint:
        weights.initialize_from(objective, settings.objective.checkpoint, settings.train.offline)
    elif is_published(settings.model.backbone):
        backbones.initialize(objective.encoder, settings.model.backbone)
    if settings.model.probe_init_logits_layer and objective.supervised_head is not None:
        _initialize_linear_head(
            objective,
            train_source.labeled(),
            batch_size=settings.eval.eval_batch_size,
            strategy=strategy,
        )
    objective.start()


def _initialize_linear_head(objective, source, *, batch_size, strategy):
    """Starts the linear head as logistic regression on the features that it will read."""

    def head_input(images):
        features_of_encoder = objective.encoder(images, training=False)["final_avg_pool"]
        return {"features": objective.head_input(features_of_encoder)}

    num_labels = 0
    if source.num_examples:
        compute = features.feature_mapper(head_input, objective.eval_example, batch_size, strategy)
        arrays = compute(source, "features for the start of the linear head")
        arrays = features.labeled_rows(arrays)
        num_labels = len(np.unique(arrays["label"]))
    if num_labels < 2:
        raise UserError(
            "--probe_init_logits_layer=True: labels of at least two classes are needed; "
            "leave it out"
        )
    probe = linear_probe.fit(arrays["features"], arrays["label"])
    kernel, bias = linear_probe.as_linear_layer(probe, objective.supervised_head.units)
    objective.start_linear_head(kernel, bias)
