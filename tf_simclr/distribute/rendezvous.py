"""The workers of a cluster find each other before TensorFlow waits for them.

TensorFlow waits in C++ code with Python's lock, so that no signal ends the process by the way that
it ends otherwise. Here the first worker listens at its address, and the others connect and say who
they are. Once all are there it stops listening, says so, and is left by the others: the port is
free, and what TensorFlow still has to wait for takes moments.
"""

import contextlib
import dataclasses
import json
import selectors
import socket
import time
from collections.abc import Sequence

from absl import logging

from tf_simclr.errors import UserError

JOBS = ("chief", "worker")  # of TF_CONFIG that train; the first task is the one that listens
SECONDS_OF_SILENCE = 3  # before the log says who or what is waited for
SECONDS_BETWEEN_LINES = 60
SECONDS_BETWEEN_ATTEMPTS = 0.25
SECONDS_OF_ANSWER = 5  # from a peer that is there
HELLO, WAIT, GO = "tf_simclr", "wait", "go"  # first words of messages, a line each
MAX_LINE = 10_000  # bytes; a line that is longer is none of these


@dataclasses.dataclass(frozen=True)
class Worker:
    """A process of the cluster.

    Attributes:
        job: chief or worker.
        index: its number in the job.
        address: host:port.
    """

    job: str
    index: int
    address: str

    def __str__(self):
        return f"{self.job} {self.index} at {self.address}"

    @property
    def host_and_port(self) -> tuple[str, int]:
        """Where it listens."""
        host, _, port = self.address.rpartition(":")
        return host.strip("[]"), int(port)


def meet(cluster: str):
    """Waits until all workers of a cluster are here; the log says who is missing.

    Args:
        cluster: value of TF_CONFIG. Nothing is waited for where it names no cluster that this
            process is a worker of: what is wrong with it TensorFlow says.

    Raises:
        UserError: something else listens at the address of this worker.
    """
    workers, own = _workers(cluster)
    if own is None or len(workers) < 2:
        return
    first, *others = workers
    notice = _Notice(len(workers))
    if own == first:
        _host(own, others, notice)
    else:
        _join(own, first, notice)
    logging.info("all %d workers of TF_CONFIG are here", len(workers))


def _workers(cluster):
    """(the workers of TF_CONFIG, this one); (no workers, None) if it is none."""
    try:
        config = json.loads(cluster)
        tasks = {job: config["cluster"].get(job, []) for job in JOBS}
        workers = [
            Worker(job, index, str(address))
            for job, addresses in tasks.items()
            for index, address in enumerate(addresses)
        ]
        name = config["task"]["type"], config["task"]["index"]
        (own,) = [each for each in workers if (each.job, each.index) == name]
        are_addresses = all(each.host_and_port[1] > 0 for each in workers)
    except (ValueError, KeyError, TypeError, AttributeError):
        return [], None
    return (workers, own) if are_addresses else ([], None)


class _Notice:
    """Says in the log who is missing: after some seconds, and now and then.

    Args:
        num_workers: of the cluster.
    """

    def __init__(self, num_workers: int):
        self._num_workers = num_workers
        self._next = time.monotonic() + SECONDS_OF_SILENCE

    def missing(self, workers: Sequence[str]):
        """To be called all the time.

        Args:
            workers: those that are missing, as texts.
        """
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SECONDS_BETWEEN_LINES
        logging.info(
            "waiting for %d of the %d workers of TF_CONFIG: %s",
            len(workers),
            self._num_workers,
            ", ".join(workers),
        )


def _host(own, others, notice):
    """Waits for all others, and lets them go."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_listen(own))
        guests = _Guests(others, stack)
        while missing := guests.missing():
            notice.missing(list(map(str, missing)))
            guests.attend(server)
        server.close()  # before any of them looks for TensorFlow there
        guests.let_go()


def _listen(own):
    _, port = own.host_and_port
    is_dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if is_dual else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=is_dual)
    except OSError as error:
        raise UserError(
            f"TF_CONFIG: this process is the {own}, where it can't listen ({error.strerror}); "
            "end what does so there, or give another port"
        ) from None


class _Guests:
    """Connections of other workers.

    Args:
        expected: all of them.
        stack: closes what is left in the end.
    """

    def __init__(self, expected: Sequence[Worker], stack: contextlib.ExitStack):
        self._expected = {f"{HELLO} {each.job} {each.index}": each for each in expected}
        self._stack = stack
        self._connections = {}  # {worker: socket}

    def missing(self) -> list[Worker]:
        """Those that are not here."""
        return [each for each in self._expected.values() if each not in self._connections]

    def attend(self, server: socket.socket):
        """Waits a moment for who comes and who leaves."""
        with selectors.DefaultSelector() as selector:
            selector.register(server, selectors.EVENT_READ, None)
            for worker, connection in self._connections.items():
                selector.register(connection, selectors.EVENT_READ, worker)
            ready = [key.data for key, _ in selector.select(SECONDS_BETWEEN_ATTEMPTS)]
        for worker in filter(None, ready):  # has nothing to say but that it is gone
            self._connections.pop(worker).close()
        if None in ready:
            self._welcome(server.accept()[0])
        if ready:
            self._tell(" ".join([WAIT, ", ".join(map(str, self.missing()))]))

    def _welcome(self, connection):
        """Whoever does not say which worker it is, such as a health check, is sent away."""
        self._stack.enter_context(connection)
        worker = None
        with contextlib.suppress(OSError):  # also of one that says nothing
            worker = self._expected.get(_Lines(connection).next(SECONDS_OF_ANSWER))
        if worker is None:
            connection.close()
            return
        connection.settimeout(SECONDS_OF_ANSWER)
        if worker in self._connections:  # it was started anew
            self._connections[worker].close()
        self._connections[worker] = connection

    def _tell(self, line):
        for connection in self._connections.values():
            with contextlib.suppress(OSError):  # that it is gone shows in `attend`
                connection.sendall(f"{line}\n".encode())

    def let_go(self):
        """Tells all to go, and waits until they have left, so that the port is free at once."""
        self._tell(GO)
        for connection in self._connections.values():
            with contextlib.suppress(OSError):
                connection.recv(1)


def _join(own, first, notice):
    """Waits for the first worker, and at it for all others."""
    while not _is_let_go(own, first, notice):
        notice.missing([str(first)])
        time.sleep(SECONDS_BETWEEN_ATTEMPTS)


def _is_let_go(own, first, notice):
    """Whether all are here; not so if nobody answers, or the first worker has gone away."""
    try:
        with socket.create_connection(first.host_and_port, SECONDS_OF_ANSWER) as connection:
            connection.sendall(f"{HELLO} {own.job} {own.index}\n".encode())
            lines = _Lines(connection)
            missing = str(first)
            while True:
                try:
                    line = lines.next(SECONDS_BETWEEN_ATTEMPTS)
                except TimeoutError:
                    notice.missing(missing.split(", "))
                    continue
                word, _, missing = line.partition(" ")
                if word != WAIT:
                    return word == GO
    except OSError:  # also of a name that is not known yet
        return False


class _Lines:
    """The lines that arrive over a connection."""

    def __init__(self, connection: socket.socket):
        self._connection = connection
        self._received = b""

    def next(self, seconds: float) -> str:
        """The next line; empty at the end, or where it is none of a worker.

        Args:
            seconds: that it may take as a whole, however slowly its bytes arrive.

        Raises:
            TimeoutError: none has arrived; what has is kept.
            OSError: the connection is lost.
        """
        deadline = time.monotonic() + seconds
        while b"\n" not in self._received:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            self._connection.settimeout(remaining)
            received = self._connection.recv(4096)
            self._received += received
            if not received or len(self._received) > MAX_LINE:
                return ""
        line, _, self._received = self._received.partition(b"\n")
        return line.decode(errors="replace")
