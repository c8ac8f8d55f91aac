"""Which devices a training is distributed over, and waiting for those that are elsewhere."""

import contextlib
import functools
import os
import signal
import socket
import threading
import time
import urllib.parse

import tensorflow as tf
from absl import logging

from tf_simclr.distribute import rendezvous
from tf_simclr.distribute.rendezvous import SECONDS_OF_SILENCE
from tf_simclr.errors import UserError

SECONDS_BETWEEN_ATTEMPTS = 0.5  # to connect
MIN_CONNECT_SECONDS = 0.1  # of the last one


@functools.lru_cache(maxsize=1)  # two in one process would collide in their collectives
def get_strategy(hardware) -> tf.distribute.Strategy:
    """How the work is distributed: the same strategy at each call.

    Has to be called before anything else touches TensorFlow's devices.

    Args:
        hardware: the hardware section of the configuration.

    Raises:
        UserError: a TPU or a cluster that is not there.
    """
    kind = hardware.strategy
    is_tpu_named = bool(hardware.tpu_name or hardware.master)
    if kind == "tpu" or (kind == "auto" and hardware.use_tpu and is_tpu_named):
        return _tpu_strategy(hardware)
    if hardware.num_cpu_devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        logical_devices = [tf.config.LogicalDeviceConfiguration()] * hardware.num_cpu_devices
        tf.config.set_logical_device_configuration(cpu, logical_devices)
    for gpu in tf.config.list_physical_devices("GPU"):
        # A program that has used the GPU before has decided it.
        with contextlib.suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)
    if kind == "multi_worker":
        return _multi_worker_strategy()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if kind == "mirrored" or (kind == "auto" and len(devices) > 1):
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()  # one device: no wrapper, no cost


def _multi_worker_strategy():
    cluster = os.environ.get("TF_CONFIG")
    if cluster is None:
        raise UserError(
            "--strategy=multi_worker: the environment variable TF_CONFIG is not set; it names the "
            "workers of the cluster and this one's index"
        )
    rendezvous.meet(cluster)
    try:
        with _signals_end_the_process():
            return tf.distribute.MultiWorkerMirroredStrategy()
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--strategy=multi_worker: TF_CONFIG={cluster} can't be used: {error}"
        ) from None


@contextlib.contextmanager
def _signals_end_the_process():
    """Around a wait of TensorFlow in which no Python code runs, not even of other threads.

    TensorFlow puts a handler of its own in the place of SIGTERM's, which is undone afterwards.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _tpu_strategy(hardware):
    address = hardware.tpu_name or hardware.master or "local"
    try:
        if address.startswith("grpc://"):  # of a name the cloud knows the address
            wait_for_server(address, "TPU", hardware.connect_timeout)
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            address, zone=hardware.tpu_zone or None, project=hardware.gcp_project or None
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise UserError(
            f"no TPU answers at '{address}' ({lines[0]}); use --use_tpu=False --strategy=auto to "
            "train without"
        ) from None


def wait_for_server(address: str, what: str, seconds: float):
    """Waits until a server takes connections; TensorFlow itself would wait without a word.

    Args:
        address: grpc://host:port.
        what: it is, for the log.
        seconds: after which it is given up.

    Raises:
        OSError: nothing takes connections there, or there is no such host.
        ValueError: it is no such address.
    """
    url = urllib.parse.urlsplit(address)
    if url.scheme != "grpc" or not (url.hostname and url.port):
        raise ValueError("it is not of the form grpc://host:port")
    begin = time.monotonic()
    is_announced = False
    while True:
        waited = time.monotonic() - begin
        try:
            left = max(seconds - waited, MIN_CONNECT_SECONDS)
            socket.create_connection((url.hostname, url.port), left).close()
            return
        except socket.gaierror:  # a name that is not known is a wrong one
            raise
        except OSError as error:
            if time.monotonic() - begin >= seconds:
                raise OSError(f"{error}, for {seconds:g} s (--connect_timeout)") from None
        if waited > SECONDS_OF_SILENCE and not is_announced:
            is_announced = True
            logging.info("waiting for the %s at %s, at most %g s", what, address, seconds)
        time.sleep(SECONDS_BETWEEN_ATTEMPTS)
