"""The training step over all replicas, compiled."""

import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.errors import UserError
from tf_simclr.objectives.base import Objective
from tf_simclr.training.micro_batches import micro_batch_step
from tf_simclr.training.replica_step import ReplicaStep


class TrainStep:
    """A compiled function: distributed batch -> metrics, after one update of the weights.

    Args:
        objective: network and loss.
        optimizer: built for the trainable variables of `objective`.
        settings: the whole configuration.
        strategy: of the objective's variables.

    Attributes:
        metric_names: known after the first call, which traces.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer,
        settings: Config,
        strategy: tf.distribute.Strategy,
    ):
        self._strategy = strategy
        self.metric_names = ()
        self._restorable = []
        if settings.train.skip_nonfinite:
            variables = (*objective.variables, *optimizer.variables)
            self._restorable = [v.value for v in variables]
        replica_step = ReplicaStep(objective, optimizer, settings, strategy.num_replicas_in_sync)
        self._run = _over_replicas(replica_step, settings, strategy)
        # Without autograph: there is nothing to convert, and tracing takes half the time.
        self._one = tf.function(self._one_step, autograph=False)
        self._many = tf.function(self._many_steps, autograph=False, reduce_retracing=True)

    def __call__(self, batch) -> dict[str, float]:
        """{metric name: value} after one step on `batch`."""
        values = self._one(batch).numpy()  # all metrics in one transfer
        return self._by_name(values)

    def loop(self, batches, count: int) -> list[dict[str, float]]:
        """Takes several steps without returning to the host between them.

        Args:
            batches: a distributed iterator.
            count: how many steps.

        Returns:
            The metrics of each step.
        """
        metrics = self._many(batches, tf.constant(count)).numpy()  # [count, M]
        return [self._by_name(values) for values in metrics]

    def _by_name(self, values):
        return dict(zip(self.metric_names, values.tolist()))

    def _one_step(self, batch):
        """float32 [M], the metrics averaged over the replicas."""
        before = [tf.identity(v) for v in self._restorable]
        metrics = {
            name: self._strategy.reduce("MEAN", value, axis=None)
            for name, value in self._run(batch).items()
        }
        values = tf.stack([tf.cast(value, tf.float32) for value in metrics.values()])
        self.metric_names = tuple(metrics)
        if not self._restorable:
            return values
        self.metric_names += ("skipped",)
        return tf.concat([values, self._undo_unless_finite(values, before)], 0)

    def _undo_unless_finite(self, metrics, before):
        """Restores the variables if the step has made anything that is not finite.

        Args:
            metrics: float32 [M] of the step.
            before: the values of `_restorable` before the step.

        Returns:
            float32 [1]: 1 if it restored them, else 0.
        """

        def undo():
            for variable, value in zip(self._restorable, before):
                variable.assign(value)
            return tf.constant([1.0])

        finite = [
            tf.reduce_all(tf.math.is_finite(value))
            for value in (metrics, *self._restorable)
            if value.dtype.is_floating
        ]
        return tf.cond(tf.reduce_all(finite), lambda: tf.constant([0.0]), undo)

    def _many_steps(self, batches, count):
        """float32 [count, M], the metrics of each step."""

        def body(number, metrics):
            return number + 1, metrics.write(number, self._one_step(next(batches)))

        _, metrics = tf.while_loop(
            lambda number, metrics: number < count,
            body,
            (0, tf.TensorArray(tf.float32, count, infer_shape=False)),
            parallel_iterations=1,
        )
        return metrics.stack()


def _over_replicas(replica_step, settings, strategy):
    """A function: distributed batch -> {metric name: per-replica scalar}."""
    num_micro_batches = settings.train.accumulate_steps
    use_xla = uses_xla(settings.hardware.jit_compile, strategy, num_micro_batches)
    if num_micro_batches > 1:
        return micro_batch_step(replica_step, settings, strategy)
    step = replica_step.__call__
    if use_xla:
        step = tf.function(step, jit_compile=True, autograph=False)
    return lambda batch: strategy.run(step, args=(batch,))


def uses_xla(choice: str, strategy: tf.distribute.Strategy, num_micro_batches: int = 1) -> bool:
    """Whether XLA compiles the step of a replica.

    Args:
        choice: "auto", "true" or "false". "auto" compiles on one GPU: on CPUs the convolutions of
            XLA are slow, and a TPU always uses it.
        strategy: how replicas are distributed.
        num_micro_batches: of a batch; a step with several is a loop over all replicas.

    Raises:
        UserError: it is asked for where it is not possible.
    """
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return False
    replicas = strategy.num_replicas_in_sync
    is_one_step = replicas == 1 and num_micro_batches == 1
    if choice == "true" and not is_one_step:
        plural = "s" if replicas > 1 else ""
        raise UserError(
            "--jit_compile=true: XLA compiles the step of one replica with the whole batch, and "
            f"here are {replicas} replica{plural} and --accumulate_steps={num_micro_batches}; "
            "leave it at auto"
        )
    if choice == "auto":
        return is_one_step and bool(tf.config.list_logical_devices("GPU"))
    return choice == "true"
