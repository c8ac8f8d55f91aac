"""Everything that knows about replicas: strategies, gathers, sums over replicas."""

import functools

import numpy as np
import tensorflow as tf

from tf_simclr.distribute import rendezvous
from tf_simclr.distribute.strategies import get_strategy  # noqa: F401  a part of this package
from tf_simclr.errors import UserError


def check_batch_sizes(strategy: tf.distribute.Strategy, settings, flags: tuple[str, ...]):
    """Checks that batches can be split over the replicas.

    Args:
        strategy: with the replicas.
        settings: the whole configuration.
        flags: names of the batch sizes.

    Raises:
        UserError: one can't.
    """
    replicas = strategy.num_replicas_in_sync
    for name in flags:
        size = settings.flat()[name]
        if size % replicas:
            raise UserError(
                f"--{name}={size}: it can't be split over {replicas} replicas, "
                f"e.g. --{name}={_round_up(size, replicas)}"
            )


def check_accumulation(strategy: tf.distribute.Strategy, train):
    """Checks that the batch of a replica can be split into `accumulate_steps` micro-batches.

    Args:
        strategy: with the replicas.
        train: the train section of the configuration.

    Raises:
        UserError: it can't.
    """
    replicas = strategy.num_replicas_in_sync
    micro_batches = replicas * train.accumulate_steps
    size = train.train_batch_size
    if size % micro_batches:
        raise UserError(
            f"--accumulate_steps={train.accumulate_steps}: --train_batch_size={size} can't be "
            f"split into so many parts on {replicas} replica{'s' if replicas > 1 else ''}, "
            f"e.g. --train_batch_size={_round_up(size, micro_batches)}"
        )


def _round_up(number, multiple):
    return -(-number // multiple) * multiple


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes."""
    if not _has_several_workers(strategy):
        return True
    resolver = strategy.cluster_resolver
    if resolver is None or resolver.task_type in (None, "chief"):
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    is_first_worker = resolver.task_type == "worker" and resolver.task_id == 0
    return is_first_worker and not has_chief


def _has_several_workers(strategy):
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def has_remote_input(strategy: tf.distribute.Strategy) -> bool:
    """Whether the input is computed by another machine: the host of a TPU at an address."""
    if not isinstance(strategy, tf.distribute.TPUStrategy):
        return False
    return bool(strategy.cluster_resolver.master())  # empty: a TPU of this machine


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """How many processes share a batch."""
    if not _has_several_workers(strategy):
        return 1
    jobs = strategy.cluster_resolver.cluster_spec().as_dict()
    return sum(len(jobs.get(job, ())) for job in rendezvous.JOBS)


def barrier(strategy: tf.distribute.Strategy):
    """Waits until all workers are here."""
    any_worker(strategy, False)


def any_worker(strategy: tf.distribute.Strategy, flag: bool) -> bool:
    """Whether `flag` is true on any worker; all workers have to ask."""
    if not _has_several_workers(strategy):
        return bool(flag)
    return _sum_of_numbers(strategy, float(bool(flag))) > 0


def all_workers_agree(strategy: tf.distribute.Strategy, number: float) -> bool:
    """Whether `number` is the same on all workers; all workers have to ask."""
    if not _has_several_workers(strategy):
        return True
    mean = _sum_of_numbers(strategy, float(number)) / strategy.num_replicas_in_sync
    return not any_worker(strategy, mean != number)


def _sum_of_numbers(strategy, number):
    """The sum of a number over all replicas of all workers.

    In float64: float32 would round sums of steps beyond 2^24.
    """
    return float(_sum_of_workers(strategy)(tf.constant(number, tf.float64)))


@functools.lru_cache(maxsize=1)  # traced once, not at every step
def _sum_of_workers(strategy):
    def sum_over_replicas(x):
        return strategy.reduce("SUM", strategy.run(tf.identity, args=(x,)), axis=None)

    return tf.function(sum_over_replicas, autograph=False)


def to_numpy(strategy: tf.distribute.Strategy, value) -> np.ndarray:
    """All replicas' values as one array, on every worker.

    Args:
        strategy: with the replicas.
        value: [B, ...] on each replica.
    """
    if _has_several_workers(strategy):
        return _gather_of_workers(strategy)(value).numpy()
    values = [local.numpy() for local in strategy.experimental_local_results(value)]
    return np.concatenate(values)


@functools.lru_cache(maxsize=1)  # traced once for a shape: `gather` by itself is at every call
def _gather_of_workers(strategy):
    return tf.function(lambda value: strategy.gather(value, axis=0), autograph=False)


def replica_count() -> int:
    """Number of replicas; 1 outside `strategy.run`."""
    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context is not None else 1


def replica_id():
    """Index of this replica; 0 outside `strategy.run`."""
    context = tf.distribute.get_replica_context()
    return context.replica_id_in_sync_group if context is not None else 0


def all_sum(x: tf.Tensor) -> tf.Tensor:
    """Sum of `x` over the replicas, differentiable."""
    if replica_count() == 1:
        return x
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, x)


def all_gather(x: tf.Tensor) -> tf.Tensor:
    """The values of all R replicas in replica order, differentiable.

    Each replica scatters its values into zeros and all are summed: the shape stays static, which a
    TPU needs, and the gradient of the sum brings back to each value what *all* replicas' losses say
    about it.

    Args:
        x: [B, ...] on each replica.

    Returns:
        [R B, ...], the same on all replicas.
    """
    count = replica_count()
    if count == 1:
        return x
    scattered = tf.scatter_nd([[replica_id()]], x[None], [count, *x.shape])  # [R, B, ...]
    return tf.reshape(all_sum(scattered), [count * x.shape[0], *x.shape[1:]])


def weighted_mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """The weighted mean over the global batch, as this replica's part of it.

    The train step averages over replicas, so the parts are scaled to average (not add up) to the
    mean over the global batch, however unevenly the weights fall on replicas.

    Args:
        values: [B] of this replica.
        weights: [B], at least 0.

    Returns:
        A scalar; 0 where all weights are 0.
    """
    weights = tf.cast(weights, values.dtype)
    total = all_sum(tf.reduce_sum(weights))
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights) * replica_count(), total)


def on_cpu() -> bool:
    """Whether there is nothing faster than CPUs here."""
    return not (tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))


def describe(strategy: tf.distribute.Strategy) -> str:
    """What the training runs on, for the log."""
    count = strategy.num_replicas_in_sync
    kind = tf.config.list_logical_devices()[-1].device_type
    if count == 1:
        return f"one {kind}"
    return f"{count} replicas on {kind}s, {type(strategy).__name__}"
