"""The start of a linear head as logistic regression on the features that it will read."""

import math

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr.config import Config
from tf_simclr.console import announced_if_slow
from tf_simclr.data.source import Source
from tf_simclr.errors import UserError
from tf_simclr.evaluation import features
from tf_simclr.evaluation.metrics import linear_probe
from tf_simclr.models.layers import learns_statistics, repeated_pass
from tf_simclr.objectives.base import Objective


def start_as_probe(
    objective: Objective, source: Source, *, settings: Config, strategy: tf.distribute.Strategy
):
    """Starts the linear head as logistic regression on its features in inference mode.

    In training batch norm uses the statistics of a batch. After a few steps of pretraining the
    moving ones are far from those, and so are the features: where the first loss would be above
    chance the head keeps its initial weights, which the log says.

    Args:
        objective: whose head it is.
        source: labeled training images.
        settings: the whole configuration.
        strategy: of the objective's variables.

    Raises:
        UserError: there are labels of fewer than two classes.
    """

    def head_input(images):
        features_of_encoder = objective.encoder(images, training=False)["final_avg_pool"]
        return {"features": objective.head_input(features_of_encoder)}

    num_classes = 0
    if source.num_examples:
        batch_size = settings.eval.eval_batch_size
        compute = features.feature_mapper(head_input, objective.eval_example, batch_size, strategy)
        arrays = compute(source, "features for the start of the linear head")
        arrays = features.labeled_rows(arrays)
        num_classes = len(np.unique(arrays["label"]))
    if num_classes < 2:
        raise UserError(
            "--probe_init_logits_layer=True: labels of at least two classes are needed; "
            "leave it out"
        )
    head = objective.supervised_head
    initial = [tf.convert_to_tensor(v).numpy() for v in (head.kernel, head.bias)]
    with announced_if_slow("logistic regression for the start of the linear head"):
        probe = linear_probe.fit(
            arrays["features"], arrays["label"], balanced=settings.eval.balances_classes
        )
    objective.start_linear_head(*linear_probe.as_linear_layer(probe, head.units))
    if not learns_statistics(objective):
        return
    loss = _loss_in_training(objective, source, settings=settings, strategy=strategy)
    chance = math.log(num_classes)
    if loss <= chance:  # not so if it is NaN
        return
    objective.start_linear_head(*initial)
    logging.warning(
        "the linear head does not start as logistic regression on the features "
        "(--probe_init_logits_layer): the first loss would be %.3g, chance is %.3g; the moving "
        "statistics of batch norm are far from those of a batch, as after few steps of pretraining",
        loss,
        chance,
    )


def _loss_in_training(objective, source, *, settings, strategy):
    """The mean cross-entropy of a batch of labeled images, with batch norm as in training."""

    def logits(images):
        with repeated_pass():  # the statistics stay as they are
            return {"logits": objective(images, training=True)["logits_sup"]}

    replicas = strategy.num_replicas_in_sync
    num_images = min(settings.train.train_batch_size, source.num_examples)
    batch_size = max(num_images // replicas, 1) * replicas  # a whole one, that nothing fills up
    drawn = source.at_most(batch_size, settings.train.seed)
    compute = features.feature_mapper(logits, objective.eval_example, batch_size, strategy)
    arrays = features.labeled_rows(compute(drawn, None))
    log_probabilities = tf.nn.log_softmax(arrays["logits"]).numpy()
    return -np.take_along_axis(log_probabilities, arrays["label"][:, None], 1).mean()
