"""A source and an example function -> batches.

Which example is at which position depends on the seed alone.
"""

import itertools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.data import data_service
from tf_simclr.data.cores import num_cores
from tf_simclr.data.mixture import BatchPart
from tf_simclr.data.source import Source

PREFETCHED = 2  # batches that are ready before they are asked for
CALLS_PER_CORE = 2  # examples that are begun for each core, so that none waits for the slowest
# There is nothing to convert, and tracing takes half the time.
_without_autograph = tf.autograph.experimental.do_not_convert


def fold_in(seed: int, *numbers) -> tf.Tensor:
    """A seed for each combination of `seed` and `numbers` (integer tensors): int32 [2]."""
    seed = tf.constant([seed, 0], tf.int32)
    for number in numbers:
        seed = tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int64))
    return seed


def training_batches(
    batch_parts: list[BatchPart],
    example: Callable,
    seed: int,
    start_step: int,
    strategy: tf.distribute.Strategy,
    cluster: str = "",
    connect_timeout: float = 0.0,
):
    """Endless distributed batches from a step on.

    Args:
        batch_parts: what every batch is made of; they follow one another in it.
        example: (picture, label, seed [2], number of the image, its constants or None) -> dict of
            tensors, see `objectives.base.Objective.example`.
        seed: of order and augmentation.
        start_step: how many steps are done.
        strategy: how batches are distributed.
        cluster: address of a tf.data service that computes the batches, see `data_service` for
            what is given up then; empty: this machine.
        connect_timeout: seconds to wait for the cluster.

    Returns:
        A distributed data set of dicts with a leading axis of batch size / replicas.
    """
    if cluster:
        data_service.check(cluster, batch_parts, connect_timeout)

    is_remote = distribute.has_remote_input(strategy)
    num_calls = _num_calls(is_elsewhere=bool(cluster) or is_remote)

    def make(context):
        sizes = [part.source.num_examples for part in batch_parts]
        # The number of the first image of each part.
        first_numbers = itertools.accumulate(sizes, initial=0)
        parts_of_batch = []
        for index, (part, first_number) in enumerate(zip(batch_parts, first_numbers)):
            seed_of_part = _seed_of_part(seed, index)
            prepare = _training_example(part, example, seed_of_part, first_number)
            start = start_step * part.batch_size
            elements = part.source.shuffled(seed_of_part, start, part.batch_size, context)
            parts_of_batch.append(_batches(elements, prepare, part.batch_size, context, num_calls))
        dataset = parts_of_batch[0]
        if len(parts_of_batch) > 1:
            dataset = tf.data.Dataset.zip(*parts_of_batch).map(_without_autograph(_concatenate))
        if cluster:
            dataset = data_service.distributed(dataset, cluster)
        return _prefetched(dataset, is_remote)

    return strategy.distribute_datasets_from_function(make)


def _concatenate(*batches):
    return {name: tf.concat([batch[name] for batch in batches], 0) for name in batches[0]}


def _training_example(part, example, seed, first_number):
    """Makes the examples of one part, whose images are numbered from `first_number` on."""
    constants = None if part.constants is None else tf.constant(part.constants)

    def prepare(epoch, index, record, label):
        return example(
            part.source.open(record),
            label,
            fold_in(seed, epoch, index),
            first_number + index,
            None if constants is None else constants[index],
        )

    return prepare


def _batches(elements, prepare, batch_size, context, num_calls):
    """Examples that `prepare` makes of elements, in batches for one replica."""
    examples = elements.map(_without_autograph(prepare), num_calls, deterministic=True)
    replica_batch_size = context.get_per_replica_batch_size(batch_size)
    return examples.batch(replica_batch_size, drop_remainder=True)


def _num_calls(is_elsewhere):
    """Examples that are begun at a time; how many cores other machines have is not known here."""
    return tf.data.AUTOTUNE if is_elsewhere else CALLS_PER_CORE * num_cores()


def _prefetched(dataset, is_remote):
    """The batches, on this machine without tf.data's search for the best parallelism.

    It runs in a thread that sleeps for longer and longer, up to a minute. Where it does not notice
    that the data set is given up, the end of a training waits for it (7 to 57 s in seven of eight
    trainings of one to three minutes). Without it `AUTOTUNE` begins at most 16 examples at a time.
    """
    options = tf.data.Options()
    options.autotune.enabled = is_remote
    return dataset.prefetch(PREFETCHED).with_options(options)


def _seed_of_part(seed, index):
    """A seed of its own for each part; the first keeps the run's."""
    if index == 0:
        return seed
    state = np.random.SeedSequence([seed, index]).generate_state(1)
    return int(state[0] >> 1)


def evaluation_batches(
    source: Source, example: Callable, batch_size: int, strategy: tf.distribute.Strategy
):
    """Distributed batches of every example once.

    All batches have the same shape: the last one is filled up, and `weight` (float32) is 0 for what
    fills it. `position` (int64) is the example's in the source, whose order several workers do not
    keep.

    Args:
        source: of the examples.
        example: (image, label) -> dict of tensors.
        batch_size: over all replicas.
        strategy: how batches are distributed.
    """
    num_batches = -(-source.num_examples // batch_size)
    is_remote = distribute.has_remote_input(strategy)
    num_calls = _num_calls(is_elsewhere=is_remote)

    def make(context):
        def prepare(position, element, weight):
            record, label = element
            tensors = example(source.decode(record), label)
            return {**tensors, "weight": weight, "position": position}

        def with_weight(dataset, weight):  # before the images are made, so that it is traced once
            return dataset.map(lambda position, element: (position, element, tf.constant(weight)))

        elements = source.ordered().enumerate()
        filling = with_weight(elements.take(1).repeat(), 0.0)
        shard = elements.shard(context.num_input_pipelines, context.input_pipeline_id)
        dataset = with_weight(shard, 1.0).concatenate(filling)
        dataset = dataset.take(num_batches * batch_size // context.num_input_pipelines)
        return _prefetched(_batches(dataset, prepare, batch_size, context, num_calls), is_remote)

    return strategy.distribute_datasets_from_function(make)
