"""A network and a source -> arrays."""

import numpy as np
import tensorflow as tf

from tf_simclr.data import pipeline
from tf_simclr.progress import Progress


def extractor(objective, names, batch_size, strategy):
    """A function that runs the network in inference mode over all examples of a source; compiled once for all sources.

    Args:
        names: endpoints to keep, see `Objective.call`; those it does not have are left out.

    Returns:
        A function (source, name of the work for the progress) -> {"label": int64 [N], and for each name: float32 [N, ...]}.
    """

    def replica_step(batch):
        outputs = objective(batch["image"], training=False)
        kept = {name: tf.cast(outputs[name], tf.float32) for name in names if name in outputs}
        return {"label": batch["label"], "weight": batch["weight"], **kept}

    @tf.function(autograph=False)
    def step(batch):
        return strategy.run(replica_step, args=(batch,))

    def extract(source, what):
        chunks = []
        with Progress(what, source.num_examples) as progress:
            for batch in pipeline.evaluation(source, objective.eval_example, batch_size, strategy):
                outputs = {name: strategy.gather(value, axis=0).numpy() for name, value in step(batch).items()}
                real = outputs.pop("weight") > 0
                chunks.append({name: value[real] for name, value in outputs.items()})
                progress.update(int(real.sum()))
        return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}

    return extract
