"""What is computed once, before the first step of a training."""

import dataclasses

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr.checkpoints import weights
from tf_simclr.data import color
from tf_simclr.data.image import DecodedImage
from tf_simclr.data.source import Indexed
from tf_simclr.errors import UserError
from tf_simclr.evaluation import features
from tf_simclr.evaluation.metrics import linear_probe

MEMORY_LIMIT = 2**31  # bytes of constants that are kept in memory


def initialize(experiment):
    """Gives the objective the weights that a new training starts from."""
    settings, objective = experiment.settings, experiment.objective
    if settings.objective.checkpoint:
        weights.initialize_from(objective, settings.objective.checkpoint)
    if settings.model.probe_init_logits_layer and objective.supervised_head is not None:
        _start_linear_head(experiment)
    objective.start()


def _start_linear_head(experiment):
    settings, objective, source = (
        experiment.settings,
        experiment.objective,
        experiment.train_source.labeled(),
    )

    def inputs(images):
        return {
            "features": objective.head_input(
                objective.encoder(images, training=False)["final_avg_pool"]
            )
        }

    compute = features.feature_mapper(
        inputs, objective.eval_example, settings.eval.eval_batch_size, experiment.strategy
    )
    rows = (
        features.labeled_rows(compute(source, "features for the start of the linear head"))
        if source.num_examples
        else {"label": []}
    )
    if len(np.unique(rows["label"])) < 2:
        raise UserError(
            "--probe_init_logits_layer=True: labels of at least two classes are needed; leave it out"
        )
    fitted = linear_probe.fit(rows["features"], rows["label"])
    objective.start_linear_head(
        *linear_probe.as_linear_layer(fitted, objective.supervised_head.units)
    )


def with_constants(experiment):
    """The parts of every batch, with what the objective wants computed once for all their images.

    A stream has no order in which to keep it, and too much of it is computed in each step as well.
    """
    constant, parts = experiment.objective.constant_function(), experiment.parts
    if constant is None or not all(isinstance(part.source, Indexed) for part in parts):
        return parts
    function, width = constant
    if 4 * width * experiment.num_images > MEMORY_LIMIT:
        logging.info(
            "more than %d MB would have to be kept: nothing is computed ahead of the training",
            MEMORY_LIMIT >> 20,
        )
        return parts

    def example(image, label):  # nothing in it is random, or there would be no constant function
        return experiment.objective.example(DecodedImage(image), label, tf.constant([0, 0]))

    def constants(images):
        return {
            "constant": function(
                color.network_input({"image": images}, experiment.settings.augment)
            )
        }

    compute = features.feature_mapper(
        constants, example, experiment.settings.eval.eval_batch_size, experiment.strategy
    )
    return [
        dataclasses.replace(
            part, constants=compute(part.source, "computing once what stays the same")["constant"]
        )
        for part in parts
    ]
