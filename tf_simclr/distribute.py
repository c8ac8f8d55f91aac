"""Everything that knows about replicas: strategies, gathers, sums over replicas."""

import functools
import os

import numpy as np
import tensorflow as tf

from tf_simclr.errors import UserError


@functools.lru_cache(maxsize=1)  # two in one process would collide in their collectives
def get_strategy(hardware):
    """The `tf.distribute.Strategy` that the hardware section of the configuration asks for, the same one at each call.

    Has to be called before anything else touches TensorFlow's devices.
    """
    kind = hardware.strategy
    tpu = hardware.tpu_name or hardware.master
    if kind == "auto" and hardware.use_tpu and tpu:
        kind = "tpu"
    if kind == "tpu":
        return _tpu(hardware)
    if hardware.num_cpu_devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * hardware.num_cpu_devices
        )
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    if kind == "multi_worker":
        if "TF_CONFIG" not in os.environ:
            raise UserError(
                "--strategy=multi_worker: the environment variable TF_CONFIG is not set; it names the workers of the cluster and this one's index"
            )
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"--strategy=multi_worker: TF_CONFIG={os.environ['TF_CONFIG']} can't be used: {error}"
            ) from None
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if kind == "mirrored" or (kind == "auto" and len(devices) > 1):
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()  # one device: no wrapper, no cost


def _tpu(hardware):
    address = hardware.tpu_name or hardware.master or "local"
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            address, zone=hardware.tpu_zone or None, project=hardware.gcp_project or None
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"no TPU answers at '{address}' ({reason}); use --use_tpu=False --strategy=auto to train without"
        ) from None


def check_batch_sizes(strategy, settings, names):
    """Raises UserError if one of these flags can't be split over the replicas."""
    replicas = strategy.num_replicas_in_sync
    for name in names:
        batch = settings.flat()[name]
        if batch % replicas:
            raise UserError(
                f"--{name}={batch}: it can't be split over {replicas} replicas, e.g. --{name}={-(-batch // replicas) * replicas}"
            )


def check_accumulation(strategy, options):
    """Raises UserError if the batch of a replica can't be split into `accumulate_steps` parts; `options`: the train section."""
    replicas = strategy.num_replicas_in_sync
    parts = replicas * options.accumulate_steps
    if options.train_batch_size % parts:
        raise UserError(
            f"--accumulate_steps={options.accumulate_steps}: --train_batch_size={options.train_batch_size} can't be split into so many parts on "
            f"{replicas} replica{'s' if replicas > 1 else ''}, e.g. --train_batch_size={-(-options.train_batch_size // parts) * parts}"
        )


def is_chief(strategy):
    """Whether this process is the one that writes."""
    resolver = strategy.cluster_resolver
    if resolver is None or not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    return resolver.task_type in (None, "chief") or (
        resolver.task_type == "worker"
        and resolver.task_id == 0
        and "chief" not in resolver.cluster_spec().jobs
    )


def barrier(strategy):
    """Waits until all workers are here."""
    any_worker(strategy, False)


def any_worker(strategy, flag):
    """Whether `flag` is true on any worker; all workers have to ask."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return bool(flag)
    return float(_sum_of_workers(strategy)(tf.constant(float(bool(flag))))) > 0


def all_workers_agree(strategy, number):
    """Whether `number` is the same one on all workers; all workers have to ask."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    mean = (
        float(_sum_of_workers(strategy)(tf.constant(float(number)))) / strategy.num_replicas_in_sync
    )
    return not any_worker(strategy, mean != number)


@functools.lru_cache(maxsize=1)  # traced once, not at every step
def _sum_of_workers(strategy):
    return tf.function(
        lambda x: strategy.reduce("SUM", strategy.run(tf.identity, args=(x,)), axis=None),
        autograph=False,
    )


def to_numpy(strategy, value):
    """What each replica's part of `value` [B, ...] holds, as one array, on every worker."""
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return strategy.gather(value, axis=0).numpy()
    return np.concatenate([part.numpy() for part in strategy.experimental_local_results(value)])


def replica_count():
    """Number of replicas; 1 outside `strategy.run`."""
    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context is not None else 1


def replica_id():
    """Index of this replica; 0 outside `strategy.run`."""
    context = tf.distribute.get_replica_context()
    return context.replica_id_in_sync_group if context is not None else 0


def all_sum(x):
    """Sum of `x` over the replicas, differentiable."""
    if replica_count() == 1:
        return x
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, x)


def all_gather(x):
    """[B, ...] on each of R replicas -> [R B, ...] in replica order on all of them, differentiable.

    Each replica scatters its rows into zeros and all are summed: the shape stays static, which a TPU needs, and the
    gradient of the sum brings back to each row what *all* replicas' losses say about it.
    """
    count = replica_count()
    if count == 1:
        return x
    scattered = tf.scatter_nd([[replica_id()]], x[None], [count, *x.shape])  # [R, B, ...]
    return tf.reshape(all_sum(scattered), [count * x.shape[0], *x.shape[1:]])


def weighted_mean(values, weights):
    """Mean of the global `values` [B] under `weights` [B] >= 0, as this replica's part of it.

    The train step averages over replicas, so the parts are scaled to average (not add up) to the mean over the global
    batch, however unevenly the weights fall on replicas. 0 where all weights are 0.
    """
    weights = tf.cast(weights, values.dtype)
    total = all_sum(tf.reduce_sum(weights))
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights) * replica_count(), total)


def on_cpu():
    """Whether there is nothing faster than CPUs here."""
    return not (tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))


def describe(strategy):
    """What the training runs on, for the log."""
    count, kind = strategy.num_replicas_in_sync, tf.config.list_logical_devices()[-1].device_type
    return (
        f"one {kind}" if count == 1 else f"{count} replicas on {kind}s, {type(strategy).__name__}"
    )
