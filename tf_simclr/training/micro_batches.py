"""Training steps that take a batch in several micro-batches, of which one has activations.

A loss that is a mean over examples is accumulated. One that couples examples, or changes a state
that it reads, needs the embeddings of all: gradient caching (Gao et al. 2021, "Scaling Deep
Contrastive Learning Batch Size under Memory Limited Setup") computes these first without keeping
activations, then the loss and its gradient with respect to them, then each micro-batch again with
that gradient put in.
"""

import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.data.source import UNLABELED
from tf_simclr.models.layers import repeated_pass
from tf_simclr.objectives.supervised import LABEL_METRICS
from tf_simclr.training.replica_step import ReplicaStep


def micro_batch_step(replica_step: ReplicaStep, settings: Config, strategy: tf.distribute.Strategy):
    """The step over all replicas that takes a batch in `accumulate_steps` micro-batches.

    Returns:
        A function: distributed batch -> {metric name: per-replica scalar}.
    """
    objective = replica_step.objective
    needs_all = objective.couples_examples or objective.loss_has_state
    kind = CachedGradientStep if needs_all else AccumulatedStep
    return kind(replica_step, settings, strategy)


class MicroBatchStep:
    """What both kinds of accumulation share.

    Loops are outside of `strategy.run`: replicas can't communicate inside a loop of one of them.
    """

    def __init__(self, replica_step, settings, strategy):
        self._replica_step = replica_step
        self._objective = replica_step.objective
        self._strategy = strategy
        self._count = settings.train.accumulate_steps
        replica_batch_size = settings.train.train_batch_size // strategy.num_replicas_in_sync
        self._size = replica_batch_size // self._count  # examples of a micro-batch
        self._gradients = [self._buffer(v.shape) for v in replica_step.variables]

    def _buffer(self, shape):
        """A float32 variable of which each replica has its own value."""
        with self._strategy.scope():
            return tf.Variable(
                tf.zeros(shape),
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.SUM,
            )

    def _for_each_micro_batch(self, function, batch):
        """Calls `function` on all replicas, for one micro-batch after the other.

        Args:
            function: (micro-batch, its number) -> float32 tensor.
            batch: distributed batch.

        Returns:
            float32 [accumulate_steps, ...]: the results, averaged over the replicas.
        """

        def on_replica(batch, number):
            return function(self._micro_batch(batch, number), number)

        def body(number, results):
            result = self._strategy.run(on_replica, args=(batch, number))
            mean = self._strategy.reduce("MEAN", result, axis=None)
            return number + 1, results.write(number, mean)

        _, results = tf.while_loop(
            lambda number, results: number < self._count,
            body,
            (0, tf.TensorArray(tf.float32, self._count, infer_shape=False)),
            parallel_iterations=1,
        )
        return results.stack()

    def _micro_batch(self, batch, number):
        micro_batch = {}
        for name, value in batch.items():
            begin = [number * self._size] + [0] * (value.shape.rank - 1)
            micro_batch[name] = tf.slice(value, begin, [self._size, *value.shape[1:]])
        return micro_batch

    def _add_gradients(self, gradients):
        for buffer, gradient in zip(self._gradients, gradients):
            if gradient is not None:
                buffer.assign_add(gradient)

    def _apply_gradients(self, metrics):
        gradients = [tf.convert_to_tensor(buffer) for buffer in self._gradients]
        return self._replica_step.apply_gradients(gradients, metrics)

    def _clear_gradients(self):
        for buffer in self._gradients:
            buffer.assign(tf.zeros_like(buffer))


class AccumulatedStep(MicroBatchStep):
    """The mean of the micro-batches' losses, which is the loss of the batch."""

    def __call__(self, batch):
        metric_names = []

        def accumulate(micro_batch, number):
            with tf.GradientTape() as tape:
                loss, metrics = self._objective.part_loss(micro_batch, training=True)
                loss, metrics = self._replica_step.differentiated_loss(loss, metrics)
                share = loss / self._count
            self._add_gradients(tape.gradient(share, self._replica_step.variables))
            metric_names[:] = metrics
            return tf.stack([*metrics.values(), _num_labels(micro_batch)])

        self._strategy.run(self._objective.begin_step)
        self._strategy.run(self._clear_gradients)
        metrics = self._for_each_micro_batch(accumulate, batch)  # [accumulate_steps, M + 1]
        means = _mean_metrics(metric_names, metrics)

        def apply(means):
            metrics = {name: means[index] for index, name in enumerate(metric_names)}
            return self._apply_gradients(metrics)

        return self._strategy.run(apply, args=(means,))


def _num_labels(batch):
    """How many examples of this replica have a label."""
    if "label" not in batch:
        return tf.constant(0.0)
    return tf.reduce_sum(tf.cast(batch["label"] != UNLABELED, tf.float32))


def _mean_metrics(names, metrics):
    """Metrics of a batch of those of its parts, some of which may have no label.

    Args:
        names: of the metrics.
        metrics: float32 [accumulate_steps, M + 1], the number of labels last.

    Returns:
        float32 [M].
    """
    metrics, num_labels = metrics[:, :-1], metrics[:, -1:]
    of_labels = tf.math.divide_no_nan(
        tf.reduce_sum(metrics * num_labels, 0), tf.reduce_sum(num_labels)
    )
    is_of_labels = tf.constant([name in LABEL_METRICS for name in names])
    means = tf.where(is_of_labels, of_labels, tf.reduce_mean(metrics, 0))
    return tf.ensure_shape(means, [len(names)])


class CachedGradientStep(MicroBatchStep):
    """The gradient of a loss that needs the outputs of the whole batch at once.

    Only batch norm sees micro-batches.
    """

    def __init__(self, replica_step, settings, strategy):
        super().__init__(replica_step, settings, strategy)
        self._outputs = {}  # outputs of the network and targets of the whole batch
        self._upstream = {}  # the gradient of the loss with respect to them
        for name, shape in self._objective.output_shapes().items():
            buffer_shape = [self._count, self._size, *shape]
            self._outputs[name] = self._buffer(buffer_shape)
            self._upstream[name] = self._buffer(buffer_shape)

    def __call__(self, batch):
        self._strategy.run(self._objective.begin_step)
        self._for_each_micro_batch(self._cache_outputs, batch)
        metrics = self._strategy.run(self._differentiate_loss, args=(batch["label"],))
        self._for_each_micro_batch(self._backpropagate, batch)
        return self._strategy.run(self._apply_gradients, args=(metrics,))

    def _cache_outputs(self, micro_batch, number):
        images = self._objective.images(micro_batch)
        outputs = self._objective.outputs(micro_batch, images, True)
        targets = self._objective.targets(micro_batch, images, True)
        for name, value in {**outputs, **targets}.items():
            cache = self._outputs[name]
            row = tf.cast(value, tf.float32)[None]
            updated = tf.tensor_scatter_nd_update(tf.convert_to_tensor(cache), [[number]], row)
            cache.assign(updated)
        return tf.constant(0.0)

    def _differentiate_loss(self, labels):
        outputs = {
            name: tf.reshape(cache, [-1, *cache.shape[2:]]) for name, cache in self._outputs.items()
        }
        with tf.GradientTape() as tape:
            tape.watch(list(outputs.values()))
            loss, metrics = self._objective.loss_of(outputs, labels, True)
            loss, metrics = self._replica_step.differentiated_loss(loss, metrics)
        gradients = tape.gradient(loss, [*outputs.values(), *self._replica_step.variables])
        buffers = [*self._upstream.values(), *self._gradients]
        for buffer, gradient in zip(buffers, gradients, strict=True):
            if gradient is None:
                buffer.assign(tf.zeros_like(buffer))
            else:
                buffer.assign(tf.reshape(gradient, buffer.shape))
        return metrics

    def _backpropagate(self, micro_batch, number):
        with tf.GradientTape() as tape:
            images = self._objective.images(micro_batch)
            with repeated_pass():
                outputs = self._objective.outputs(micro_batch, images, True)
            products = []
            for name, output in outputs.items():
                upstream = tf.convert_to_tensor(self._upstream[name])[number]
                products.append(tf.reduce_sum(tf.cast(output, tf.float32) * upstream))
            value = sum(products)
        self._add_gradients(tape.gradient(value, self._replica_step.variables))
        return tf.constant(0.0)
