"""A source and an example function -> batches. Which example is at which position depends on the seed alone."""

import itertools

import numpy as np
import tensorflow as tf

from tf_simclr.data import data_service

_as_it_is = (
    tf.autograph.experimental.do_not_convert
)  # nothing to convert, and half the time of tracing


def fold_in(seed, *numbers):
    """A seed (int64 [2]) for each combination of `seed` (an int) and `numbers` (integer tensors)."""
    seed = tf.constant([seed, 0], tf.int32)
    for number in numbers:
        seed = tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int64))
    return seed


def training_batches(parts, example, seed, start_step, strategy, cluster=""):
    """Endless distributed batches from step `start_step` on.

    Args:
        parts: of every batch, see `mixture.Part`.
        example: (picture, label, seed [2], number of the image, its row of the part's constants or None) -> dict of tensors, see `objectives.base`.
        cluster: address of a tf.data service that computes the batches, see `service` for what is given up then; empty: this machine.

    Returns:
        A distributed data set of dicts with a leading axis of batch size / replicas; the parts follow one another in it.
    """

    if cluster:
        data_service.check(cluster, [part.source for part in parts])

    def make(context):
        first = itertools.accumulate(
            (part.source.num_examples for part in parts), initial=0
        )  # number of the first image of a part
        datasets = [
            _batches(part, example, _seed_of_part(seed, number), start_step, context, start)
            for (number, part), start in zip(enumerate(parts), first)
        ]
        dataset = datasets[0]
        if len(datasets) > 1:
            dataset = tf.data.Dataset.zip(*datasets).map(
                _as_it_is(
                    lambda *batches: {
                        name: tf.concat([batch[name] for batch in batches], 0)
                        for name in batches[0]
                    }
                )
            )
        if cluster:
            dataset = data_service.distributed(dataset, cluster)
        return dataset.prefetch(tf.data.AUTOTUNE)

    return strategy.distribute_datasets_from_function(make)


def _batches(part, example, seed, start_step, context, first):
    """The batches of one part, whose images are numbered from `first` on, for one worker."""
    constants = None if part.constants is None else tf.constant(part.constants)

    def prepare(epoch, index, record, label):
        return example(
            part.source.open(record),
            label,
            fold_in(seed, epoch, index),
            first + index,
            None if constants is None else constants[index],
        )

    dataset = part.source.shuffled(seed, start_step * part.batch_size, part.batch_size, context)
    dataset = dataset.map(_as_it_is(prepare), tf.data.AUTOTUNE, deterministic=True)
    return dataset.batch(context.get_per_replica_batch_size(part.batch_size), drop_remainder=True)


def _seed_of_part(seed, number):
    """A seed of its own for each part; the first keeps the run's."""
    return (
        seed
        if not number
        else int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)
    )


def evaluation_batches(source, example, batch_size, strategy):
    """Distributed batches of every example once.

    All batches have the same shape: the last one is filled up, and `weight` (float32) is 0 for what fills it. `position`
    (int64) is the example's place in the source, which several workers do not keep.

    Args:
        example: (image, label) -> dict of tensors.
    """
    batches = -(-source.num_examples // batch_size)

    def make(context):
        def prepare(position, row, weight):
            return {
                **example(source.decode(row[0]), row[1]),
                "weight": weight,
                "position": position,
            }

        def weighted(rows, weight):  # before the images are made, so that this is traced once
            return rows.map(lambda position, row: (position, row, tf.constant(weight)))

        rows = source.ordered().enumerate()
        filling = weighted(rows.take(1).repeat(), 0.0)
        dataset = weighted(
            rows.shard(context.num_input_pipelines, context.input_pipeline_id), 1.0
        ).concatenate(filling)
        dataset = dataset.take(batches * batch_size // context.num_input_pipelines).map(
            _as_it_is(prepare), tf.data.AUTOTUNE, deterministic=True
        )
        return dataset.batch(
            context.get_per_replica_batch_size(batch_size), drop_remainder=True
        ).prefetch(tf.data.AUTOTUNE)

    return strategy.distribute_datasets_from_function(make)
