"""A network and a source -> arrays."""

import numpy as np
import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.data import pipeline
from tf_simclr.data.source import UNLABELED
from tf_simclr.progress import Progress


def mapper(function, example, batch_size, strategy):
    """A function that applies `function` to all examples of a source; compiled once for all sources.

    Args:
        function: images [B, S, S, 3] -> {name: tensor [B, ...]}. example: (image, label) -> {"image", "label"}.

    Returns:
        A function (source, name of the work for the progress) -> {"label": int64 [N], and for each name: float32 [N, ...]},
        in the order of the source.
    """

    def replica_step(batch):
        outputs = {name: tf.cast(value, tf.float32) for name, value in function(batch["image"]).items()}
        return {**{name: batch[name] for name in ("label", "weight", "position")}, **outputs}

    @tf.function(autograph=False)
    def step(batch):
        return strategy.run(replica_step, args=(batch,))

    traced = []  # called as it is, since TensorFlow warns where several networks are traced one after the other

    def apply(source, what):
        chunks = []
        with Progress(what, source.num_examples) as progress:
            for batch in pipeline.evaluation(source, example, batch_size, strategy):
                if not traced:
                    traced.append(step.get_concrete_function(batch))
                outputs = {name: distribute.rows(strategy, value) for name, value in traced[0](batch).items()}
                real = outputs.pop("weight") > 0
                chunks.append({name: value[real] for name, value in outputs.items()})
                progress.update(int(real.sum()))
        found = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
        order = np.argsort(found.pop("position"))
        return {name: values[order] for name, values in found.items()}

    return apply


def labeled(rows):
    """Only the rows {name: [N, ...]} of examples with a label: a stream shows which those are only when it is read."""
    known = rows["label"] != UNLABELED
    return {name: values[known] for name, values in rows.items()}


def extractor(objective, names, batch_size, strategy):
    """A `mapper` of the network in inference mode, on images as evaluation sees them.

    Args:
        names: endpoints to keep, see `Objective.call`; those it does not have are left out.
    """

    def endpoints(images):
        outputs = objective(images, training=False)
        return {name: outputs[name] for name in names if name in outputs}

    return mapper(endpoints, objective.eval_example, batch_size, strategy)
