"""What of each image never changes during a training is computed once, before the first step."""

import dataclasses

import tensorflow as tf
from absl import logging

from tf_simclr.config import Config
from tf_simclr.data import color
from tf_simclr.data.image import DecodedImage
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.mixture import BatchPart
from tf_simclr.evaluation import features
from tf_simclr.objectives.base import Objective

MEMORY_LIMIT = 2**31  # bytes of constants that are kept in memory
BYTES_OF_FLOAT32 = 4


def with_constants(
    batch_parts: list[BatchPart],
    *,
    objective: Objective,
    settings: Config,
    strategy: tf.distribute.Strategy,
) -> list[BatchPart]:
    """Adds to each part of a batch what the objective wants computed once for all its images.

    Nothing is computed ahead for a stream, which has no order in which to keep it, and where the
    constants would be too large; each step computes them then.

    Args:
        batch_parts: what every batch is made of.
        objective: see `Objective.constant_function`.
        settings: the whole configuration.
        strategy: of the objective's variables.
    """
    constant = objective.constant_function()
    in_memory = all(isinstance(part.source, Indexed) for part in batch_parts)
    if constant is None or not in_memory:
        return batch_parts
    function, width = constant
    num_images = sum(part.source.num_examples for part in batch_parts)
    if BYTES_OF_FLOAT32 * width * num_images > MEMORY_LIMIT:
        logging.info(
            "more than %d MB would have to be kept: nothing is computed ahead of the training",
            MEMORY_LIMIT >> 20,
        )
        return batch_parts

    def example(image, label):
        return objective.constant_example(DecodedImage(image), label)

    def constants(images):
        network_input = color.network_input({"image": images}, settings.augment)
        return {"constant": function(network_input)}

    compute = features.feature_mapper(constants, example, settings.eval.eval_batch_size, strategy)
    computed = []
    for part in batch_parts:
        arrays = compute(part.source, "computing once what stays the same")
        computed.append(dataclasses.replace(part, constants=arrays["constant"]))
    return computed
