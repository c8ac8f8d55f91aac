"""A source and an example function -> batches. Which example is at which position depends on the seed alone."""

import tensorflow as tf

_as_it_is = tf.autograph.experimental.do_not_convert  # nothing to convert, and half the time of tracing


def fold(seed, *numbers):
    """A seed (int64 [2]) for each combination of `seed` (an int) and `numbers` (integer tensors)."""
    seed = tf.constant([seed, 0], tf.int32)
    for number in numbers:
        seed = tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int64))
    return seed


def training(source, example, seed, batch_size, start_step, strategy):
    """Endless distributed batches from step `start_step` on.

    Args:
        source: `sources.Source`. example: (image, label, seed [2]) -> dict of tensors, see `objectives.base`.
        batch_size: over all replicas.

    Returns:
        A distributed data set of dicts with a leading axis of batch_size / replicas.
    """

    def make(context):
        def prepare(epoch, index, record, label):
            return example(source.decode(record), label, fold(seed, epoch, index))

        dataset = source.shuffled(seed, start_step * batch_size, batch_size, context)
        dataset = dataset.map(_as_it_is(prepare), tf.data.AUTOTUNE, deterministic=True)
        dataset = dataset.batch(context.get_per_replica_batch_size(batch_size), drop_remainder=True)
        return dataset.prefetch(tf.data.AUTOTUNE)

    return strategy.distribute_datasets_from_function(make)


def evaluation(source, example, batch_size, strategy):
    """Distributed batches of every example once.

    All batches have the same shape: the last one is filled up, and `weight` (float32) is 0 for what fills it.

    Args:
        example: (image, label) -> dict of tensors.
    """
    batches = -(-source.num_examples // batch_size)

    def make(context):
        def prepare(weight):
            return _as_it_is(lambda record, label: {**example(source.decode(record), label), "weight": tf.constant(weight)})

        rows = source.ordered()
        filling = rows.take(1).repeat().map(prepare(0.0))
        dataset = rows.shard(context.num_input_pipelines, context.input_pipeline_id)
        dataset = dataset.map(prepare(1.0), tf.data.AUTOTUNE, deterministic=True).concatenate(filling)
        dataset = dataset.take(batches * batch_size // context.num_input_pipelines)
        return dataset.batch(context.get_per_replica_batch_size(batch_size), drop_remainder=True).prefetch(tf.data.AUTOTUNE)

    return strategy.distribute_datasets_from_function(make)
