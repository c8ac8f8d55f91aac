"""The training input computed by a cluster of other machines, with tf.data service.

The cluster gives each batch of an epoch once, but in the order in which its workers finish, and what a worker had begun
is lost if it dies: a run is no longer a function of its seed, and one that goes on does not do so bit for bit. Of a
`Streamed` source each worker computes epochs of its own.
"""

import socket
import urllib.parse

import tensorflow as tf

from tf_simclr.data.source import Indexed
from tf_simclr.errors import UserError

GRAPH_LIMIT = (
    2**30
)  # bytes of records that are sent to the cluster within the description of the data set; TensorFlow takes less than 2 GiB
TIMEOUT = 10  # seconds to connect in


def check(address, sources):
    """Raises UserError where no cluster answers at `address`, or a source could not be sent there."""
    where = f"--data_service={address}"
    for source in sources:
        size = (
            sum(map(_bytes, (source.records, source.labels))) if isinstance(source, Indexed) else 0
        )
        if size > GRAPH_LIMIT:
            raise UserError(
                f"{where}: {source.name}, split {source.split}, holds {size >> 20} MB in memory, and at most {GRAPH_LIMIT >> 20} can be sent to the workers; "
                "leave out --cache_dataset, or --data_service"
            )
    try:
        parts = urllib.parse.urlsplit(address)
        if parts.scheme != "grpc" or not (parts.hostname and parts.port):
            raise ValueError("it is not of the form grpc://host:port")
        socket.create_connection((parts.hostname, parts.port), TIMEOUT).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"{where}: no tf.data service there ({error}); start a dispatcher and workers, or leave the flag out"
        ) from None


def distributed(dataset, address):
    """The same batches, computed by the cluster at `address`, in another order: each step's go to one worker."""
    processing = tf.data.experimental.service.ShardingPolicy.DYNAMIC
    return dataset.apply(tf.data.experimental.service.distribute(processing, address))


def _bytes(array):
    return sum(map(len, array)) if array.dtype == object else array.nbytes
