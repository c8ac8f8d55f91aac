"""One step of training, compiled: augmentation, forward, loss, backward and update.

With `accumulate_steps` a batch goes through the network in micro-batches, of which only one has its activations in memory.
A loss that is a mean over examples is accumulated. One that couples them needs the embeddings of all: gradient caching
(Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup") computes these first without
keeping activations, then the loss and its gradient to them, then each micro-batch once more with that gradient put in.
"""

import math

import tensorflow as tf

from tf_simclr.errors import UserError
from tf_simclr.models.layers import AGAIN
from tf_simclr.training import optimizers


class TrainStep:
    """A compiled function: distributed batch -> metrics, after one update of the weights.

    `names` are those of the metrics, known after the first call, which traces; all come back in one transfer.
    """

    def __init__(self, objective, optimizer, settings, strategy):
        self._strategy, self.names = strategy, ()
        self._kept = (
            [v.value for v in (*objective.variables, *optimizer.variables)]
            if settings.train.skip_nonfinite
            else []
        )
        update, parts = (
            Update(objective, optimizer, settings, strategy),
            settings.train.accumulate_steps,
        )
        jit = uses_xla(settings.hardware.jit_compile, strategy, parts)
        if parts == 1:
            whole = (
                tf.function(update.whole, jit_compile=True, autograph=False)
                if jit
                else update.whole
            )
            self._run = lambda batch: strategy.run(whole, args=(batch,))
        else:
            self._run = (CachedGradient if objective.couples_examples else Accumulated)(
                update, settings, strategy
            )
        self.one = tf.function(
            self._one, autograph=False
        )  # nothing to convert, and half the time of tracing
        self.many = tf.function(self._many, autograph=False, reduce_retracing=True)

    def __call__(self, batch):
        """{name: float} after one step on `batch`."""
        return self._named(self.one(batch).numpy())

    def loop(self, batches, count):
        """The metrics of each of `count` steps, which follow one another without a word to the host. batches: a distributed iterator."""
        return [self._named(row) for row in self.many(batches, tf.constant(count)).numpy()]

    def _named(self, row):
        return dict(zip(self.names, row.tolist()))

    def _one(self, batch):
        """float32 [M], the metrics averaged over the replicas."""
        before = [tf.identity(v) for v in self._kept]
        metrics = {
            name: self._strategy.reduce("MEAN", value, axis=None)
            for name, value in self._run(batch).items()
        }
        row = tf.stack([tf.cast(value, tf.float32) for value in metrics.values()])
        self.names = tuple(metrics)
        if not self._kept:
            return row
        self.names += ("skipped",)
        return tf.concat([row, self._undo_unless_finite(row, before)], 0)

    def _undo_unless_finite(self, row, before):
        """Gives the variables their values `before` the step back if it has made anything that is not finite: [1.0], else [0.0]."""

        def undo():
            for v, value in zip(self._kept, before):
                v.assign(value)
            return tf.constant([1.0])

        finite = [
            tf.reduce_all(tf.math.is_finite(value))
            for value in (row, *self._kept)
            if value.dtype.is_floating
        ]
        return tf.cond(tf.reduce_all(finite), lambda: tf.constant([0.0]), undo)

    def _many(self, batches, count):
        rows = tf.TensorArray(tf.float32, count, infer_shape=False)
        body = lambda number, rows: (number + 1, rows.write(number, self._one(next(batches))))
        return tf.while_loop(
            lambda number, rows: number < count, body, (0, rows), parallel_iterations=1
        )[1].stack()


def uses_xla(choice, strategy, parts=1):
    """Whether the step of a replica is given to XLA: `auto` is on one GPU. On CPUs its convolutions are slow, TPUs always use it.

    Args:
        choice: auto, true or false. parts: of a batch; a step of several is a loop over all replicas.

    Raises:
        UserError: it is asked for where it can't be.
    """
    replicas = strategy.num_replicas_in_sync
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return False
    if choice == "true" and (replicas > 1 or parts > 1):
        raise UserError(
            f"--jit_compile=true: XLA compiles the step of one replica with the whole batch, and here are {replicas} replica{'s' if replicas > 1 else ''} "
            f"and --accumulate_steps={parts}; leave it at auto"
        )
    return choice == "true" or (
        choice == "auto" and replicas == parts == 1 and bool(tf.config.list_logical_devices("GPU"))
    )


class Update:
    """What one replica does with a loss: its gradient, and the update of the weights."""

    def __init__(self, objective, optimizer, settings, strategy):
        self.objective, self.variables = objective, objective.trainable_variables
        self._optimizer, self._settings, self._replicas = (
            optimizer,
            settings,
            strategy.num_replicas_in_sync,
        )
        self._float16 = settings.model.precision == "float16"

    def whole(self, batch):
        """A step on a whole batch: {name: scalar}."""
        with tf.GradientTape() as tape:
            loss, metrics = self.objective.loss(batch, training=True)
            scaled, metrics = self.scaled(loss, metrics)
        return self.apply(tape.gradient(scaled, self.variables), metrics)

    def scaled(self, loss, metrics):
        """(what is differentiated, all metrics): the loss with weight decay, this replica's share of it, scaled against underflow."""
        decay = optimizers.weight_decay_penalty(self._settings, self.objective)
        total = loss + decay
        share = total / self._replicas
        return self._optimizer.scale_loss(share) if self._float16 else share, {
            "total_loss": total,
            "weight_decay": decay,
            **metrics,
        }

    def apply(self, gradients, metrics):
        """Updates the weights by this replica's gradients, which are summed over the replicas."""
        if self._float16:
            gradients = _agree_on_overflow(gradients)
        elif self._replicas == 1:  # on one of many it would be the norm of a part
            metrics = {**metrics, "gradient_norm": tf.linalg.global_norm(gradients)}
        self._optimizer.apply(gradients, self.variables)
        return metrics


def _agree_on_overflow(gradients):
    """Gradients that are not finite on every replica if they are not on one: Keras' loss scaling looks at one only."""
    context = tf.distribute.get_replica_context()
    bad = sum(tf.reduce_sum(tf.cast(~tf.math.is_finite(g), tf.float32)) for g in gradients)
    bad = context.all_reduce(tf.distribute.ReduceOp.SUM, bad)
    return [g + tf.cast(tf.where(bad > 0, math.nan, 0.0), g.dtype) for g in gradients]


class MicroBatches:
    """What both ways of accumulation share. The loops are outside of `strategy.run`: replicas can't talk to each other inside a loop of one."""

    def __init__(self, update, settings, strategy):
        self._objective, self._update, self._strategy = update.objective, update, strategy
        self._steps = settings.train.accumulate_steps
        self._rows = (
            settings.train.train_batch_size // strategy.num_replicas_in_sync // self._steps
        )  # of a micro-batch
        self._gradients = [self._buffer(v.shape) for v in update.variables]

    def _buffer(self, shape):
        """A float32 tensor that each replica has for itself."""
        with self._strategy.scope():
            return tf.Variable(
                tf.zeros(shape),
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.SUM,
            )

    def _each(self, function, batch):
        """Calls function(micro-batch, its number) -> a float32 tensor, on the replicas, for one micro-batch after the other; [results averaged over the replicas]."""

        def on_replica(batch, number):
            return function(
                {
                    name: tf.slice(
                        value,
                        [number * self._rows] + [0] * (value.shape.rank - 1),
                        [self._rows, *value.shape[1:]],
                    )
                    for name, value in batch.items()
                },
                number,
            )

        def body(number, results):
            result = self._strategy.run(on_replica, args=(batch, number))
            return number + 1, results.write(
                number, self._strategy.reduce("MEAN", result, axis=None)
            )

        results = tf.TensorArray(tf.float32, self._steps, infer_shape=False)
        return tf.while_loop(
            lambda number, results: number < self._steps, body, (0, results), parallel_iterations=1
        )[1].stack()

    def _add(self, gradients):
        for buffer, gradient in zip(self._gradients, gradients):
            if gradient is not None:
                buffer.assign_add(gradient)
        return tf.constant(0.0)

    def _apply(self, metrics):
        return self._update.apply(
            [tf.convert_to_tensor(buffer) for buffer in self._gradients], metrics
        )

    def _clear(self):
        for buffer in self._gradients:
            buffer.assign(tf.zeros_like(buffer))


class Accumulated(MicroBatches):
    """The mean of the micro-batches' losses, which is that of the batch."""

    def __call__(self, batch):
        names = []

        def add(micro, number):
            with tf.GradientTape() as tape:
                loss, metrics = self._objective.loss(micro, training=True)
                scaled, metrics = self._update.scaled(loss, metrics)
                share = scaled / self._steps
            self._add(tape.gradient(share, self._update.variables))
            names[:] = metrics
            return tf.stack(list(metrics.values()))

        self._strategy.run(self._clear)
        means = tf.ensure_shape(tf.reduce_mean(self._each(add, batch), 0), [None])
        return self._strategy.run(
            lambda means: self._apply({name: means[i] for i, name in enumerate(names)}),
            args=(means,),
        )


class CachedGradient(MicroBatches):
    """The gradient of a loss that couples all examples of the batch; only batch norm sees micro-batches."""

    def __init__(self, update, settings, strategy):
        super().__init__(update, settings, strategy)
        shapes = {
            name: [self._steps, self._rows, *shape]
            for name, shape in self._objective.output_shapes().items()
        }
        self._outputs = {name: self._buffer(shape) for name, shape in shapes.items()}
        self._upstream = {name: self._buffer(shape) for name, shape in shapes.items()}

    def __call__(self, batch):
        self._strategy.run(self._objective.begin_step)
        self._each(self._keep_outputs, batch)
        metrics = self._strategy.run(self._differentiate, args=(batch["label"],))
        self._each(self._put_in, batch)
        return self._strategy.run(self._apply, args=(metrics,))

    def _keep_outputs(self, micro, number):
        images = self._objective.images(micro)
        outputs = {
            **self._objective.outputs(micro, images, True),
            **self._objective.targets(micro, images, True),
        }
        for name, value in outputs.items():
            kept = self._outputs[name]
            kept.assign(
                tf.tensor_scatter_nd_update(
                    tf.convert_to_tensor(kept), [[number]], tf.cast(value, tf.float32)[None]
                )
            )
        return tf.constant(0.0)

    def _differentiate(self, labels):
        outputs = {
            name: tf.reshape(kept, [-1, *kept.shape[2:]]) for name, kept in self._outputs.items()
        }
        with tf.GradientTape() as tape:
            tape.watch(list(outputs.values()))
            loss, metrics = self._objective.loss_of(outputs, labels, True)
            scaled, metrics = self._update.scaled(loss, metrics)
        gradients = tape.gradient(scaled, [*outputs.values(), *self._update.variables])
        for buffer, gradient in zip(
            [*self._upstream.values(), *self._gradients], gradients, strict=True
        ):
            buffer.assign(
                tf.zeros_like(buffer) if gradient is None else tf.reshape(gradient, buffer.shape)
            )
        return metrics

    def _put_in(self, micro, number):
        with tf.GradientTape() as tape:
            outputs = self._objective.outputs(micro, self._objective.images(micro), AGAIN)
            value = sum(
                tf.reduce_sum(
                    tf.cast(output, tf.float32) * tf.convert_to_tensor(self._upstream[name])[number]
                )
                for name, output in outputs.items()
            )
        return self._add(tape.gradient(value, self._update.variables))
