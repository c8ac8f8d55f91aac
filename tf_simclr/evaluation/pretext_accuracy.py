"""How well a pretext task itself is solved on images that the training has not seen.

What SimCLR asks depends on the batch, so it has no such metric.
"""

import itertools

import numpy as np
import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.data import mixture, pipeline
from tf_simclr.data.mixture import BatchPart
from tf_simclr.data.source import Source

MAX_IMAGES = 2048
METRICS = {  # {metric of the loss: metric of the evaluation}
    "pretext_loss": "task_loss",
    "pretext_acc": "task_accuracy",
    "pretext_chance": "task_chance",
}
SEED_OFFSET = 1  # from the training's seed: other crops and questions than any step has seen


def evaluate_pretext(
    objective,
    source: Source,
    *,
    batch_parts: list[BatchPart],
    settings: Config,
    strategy: tf.distribute.Strategy,
) -> dict[str, float]:
    """The task's own metrics, as means over whole batches.

    Args:
        objective: the trained network.
        source: held-out images.
        batch_parts: of the training: a task that knows only the images it was trained on gets
            these, transformed anew.
        settings: the whole configuration.
        strategy: of the network's variables.

    Returns:
        {"task_loss", "task_accuracy", "task_chance"}, as far as the task has them.
    """
    if not objective.has_task:
        return {}
    if not objective.needs_index:
        batch_size = min(settings.eval.eval_batch_size, settings.train.train_batch_size)
        batch_parts = [mixture.BatchPart(source, batch_size)]
    num_images = sum(part.source.num_examples for part in batch_parts)
    batch_size = sum(part.batch_size for part in batch_parts)
    num_batches = max(min(MAX_IMAGES, num_images) // batch_size, 1)
    seed = settings.train.seed + SEED_OFFSET
    batches = pipeline.training_batches(batch_parts, objective.example, seed, 0, strategy)

    def replica_metrics(batch):
        _, metrics = objective.loss(batch, training=False)
        return metrics

    @tf.function(autograph=False)
    def batch_metrics(batch):
        metrics = strategy.run(replica_metrics, args=(batch,))
        return {name: strategy.reduce("MEAN", value, axis=None) for name, value in metrics.items()}

    measured = [batch_metrics(batch) for batch in itertools.islice(batches, num_batches)]
    means = {}
    for loss_metric, name in METRICS.items():
        if loss_metric in measured[0]:
            means[name] = float(np.mean([metrics[loss_metric] for metrics in measured]))
    return means
