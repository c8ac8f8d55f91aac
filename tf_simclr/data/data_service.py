"""The training input computed by a cluster of other machines, with tf.data service.

The cluster gives each batch of an epoch once, but in the order in which its workers finish, and
what a worker had begun is lost if it dies: a run is no longer a function of its seed, and one that
resumes does not do so bit for bit. Of a `Streamed` source each worker computes epochs of its own.
"""

import os

import tensorflow as tf

from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.mixture import BatchPart
from tf_simclr.distribute import strategies
from tf_simclr.errors import UserError

# Bytes of records that are sent to the cluster within the description of the data set; TensorFlow
# takes less than 2 GiB.
GRAPH_LIMIT = 2**30


def check(address: str, batch_parts: list[BatchPart], timeout: float):
    """Checks that a cluster can compute the batches.

    Args:
        address: of the dispatcher, grpc://host:port.
        batch_parts: whose sources and constants are sent there.
        timeout: seconds to wait for it.

    Raises:
        UserError: no cluster answers, or a source is too large to be sent.
    """
    flag = f"--data_service={address}"
    for part in batch_parts:
        source = part.source
        computed = 0 if part.constants is None else part.constants.nbytes
        size = computed
        if isinstance(source, Indexed):
            size += _size_of_records(source) + source.labels.nbytes
        if size > GRAPH_LIMIT:
            kind = "of paths of files" if source.by_path else "in memory"
            ways_out = "--data_service" if source.by_path else "--cache_dataset, or --data_service"
            raise UserError(
                f"{flag}: {source.name}, split {source.split}, holds {size >> 20} MB {kind}, "
                f"{computed >> 20} of them computed ahead of the training, and at most "
                f"{GRAPH_LIMIT >> 20} can be sent to the workers; leave out {ways_out}"
            )
    try:
        strategies.wait_for_server(address, "tf.data service", timeout)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{flag}: no tf.data service there ({error}); start a dispatcher and workers, or leave "
            "the flag out"
        ) from None


def distributed(dataset: tf.data.Dataset, address: str) -> tf.data.Dataset:
    """The same batches in another order, computed by a cluster: each step's go to one worker."""
    service = tf.data.experimental.service
    return dataset.apply(service.distribute(service.ShardingPolicy.DYNAMIC, address))


def _size_of_records(source):
    """Bytes of the records as they are sent, where a path takes one for most characters."""
    if source.by_path:
        return sum(len(os.fsencode(path)) for path in source.records)
    if source.is_encoded:
        return sum(len(content) for content in source.records)
    return source.records.nbytes
