"""How well a pretext task itself is solved on images that the training has not seen. What SimCLR asks depends on the batch, so it has no such figure."""

import itertools

import numpy as np
import tensorflow as tf

from tf_simclr.data import mixture, pipeline

AT_MOST = 2048  # images
NAMES = {
    "pretext_loss": "task_loss",
    "pretext_acc": "task_accuracy",
    "pretext_chance": "task_chance",
}  # {metric: figure}
SEED = 1  # added to that of the training: other crops and questions than any step has seen


def evaluate_pretext(experiment, source):
    """{"task_loss", "task_accuracy", "task_chance"}, as far as the task has them: means over whole batches.

    Args:
        source: held-out images. A task that knows only the images it was trained on gets these, transformed anew.
    """
    objective, strategy, settings = experiment.objective, experiment.strategy, experiment.settings
    if not objective.has_task:
        return {}
    parts = (
        experiment.parts
        if objective.needs_index
        else [
            mixture.BatchPart(
                source, min(settings.eval.eval_batch_size, settings.train.train_batch_size)
            )
        ]
    )
    count = min(AT_MOST, sum(part.source.num_examples for part in parts)) // sum(
        part.batch_size for part in parts
    )
    batches = pipeline.training_batches(
        parts, objective.example, settings.train.seed + SEED, 0, strategy
    )

    @tf.function(autograph=False)
    def step(batch):
        metrics = strategy.run(
            lambda batch: objective.loss(batch, training=False)[1], args=(batch,)
        )
        return {name: strategy.reduce("MEAN", value, axis=None) for name, value in metrics.items()}

    rows = [step(batch) for batch in itertools.islice(batches, max(count, 1))]
    return {
        name: float(np.mean([row[metric] for row in rows]))
        for metric, name in NAMES.items()
        if metric in rows[0]
    }
