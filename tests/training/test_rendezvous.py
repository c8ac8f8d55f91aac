"""Workers of a cluster that find each other: in any order, with strangers, and interrupted."""

import contextlib
import json
import os
import signal
import socket
import threading
import time

import pytest

from tests.helpers.waiting import SECONDS, wait_until
from tf_simclr.distribute import rendezvous, strategies
from tf_simclr.errors import Terminated, UserError
from tf_simclr.runs.interrupts import Watchdog


def free_ports(count):
    servers = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


class Cluster:
    """Workers as threads.

    Args:
        workers: how many; the first one is a chief.
    """

    def __init__(self, workers=3):
        self.ports = free_ports(workers)
        chief, *others = [f"localhost:{port}" for port in self.ports]
        self.spec = {"chief": [chief], "worker": others}
        self.gone = []  # indices of those that went, in order
        self.threads = []

    def config(self, number):
        job, index = ("worker", number - 1) if number else ("chief", 0)
        return json.dumps({"cluster": self.spec, "task": {"type": job, "index": index}})

    def start(self, number):
        def meet():
            rendezvous.meet(self.config(number))
            self.gone.append(number)

        self.threads.append(threading.Thread(target=meet, daemon=True))
        self.threads[-1].start()

    def finish(self):
        for thread in self.threads:
            thread.join(SECONDS)
        return sorted(self.gone)

    def connect(self, hello=None):
        """A connection to the chief, that says hello."""
        connections = []

        def is_connected():
            with contextlib.suppress(OSError):
                address = ("localhost", self.ports[0])
                connections.append(socket.create_connection(address, SECONDS))
            return connections

        wait_until(is_connected)
        (connection,) = connections
        if hello:
            connection.sendall(f"{hello}\n".encode())
        return connection


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(rendezvous, "SECONDS_OF_SILENCE", 0.2)
    monkeypatch.setattr(rendezvous, "SECONDS_BETWEEN_LINES", 0.2)
    monkeypatch.setattr(rendezvous, "SECONDS_BETWEEN_ATTEMPTS", 0.02)


@pytest.fixture
def short_answers(monkeypatch):
    """Whoever says nothing is soon sent away; a busy worker, too, which comes again."""
    monkeypatch.setattr(rendezvous, "SECONDS_OF_ANSWER", 0.5)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_any_order(order, logged):
    """Nobody goes before all are there, and the port of the chief is free then."""
    cluster = Cluster()
    for number in order[:2]:
        cluster.start(number)
    last = order[2]
    job, address = ("worker 1" if last else "chief 0"), f"localhost:{cluster.ports[last]}"
    missing = f"workers of TF_CONFIG: {job} at {address}"
    wait_until(lambda: any(line.endswith(missing) for line in logged()))
    assert cluster.gone == []
    cluster.start(last)
    assert cluster.finish() == [0, 1, 2]
    assert logged().count("all 3 workers of TF_CONFIG are here") == 3
    socket.create_server(("", cluster.ports[0])).close()


def test_a_worker_that_goes_away_is_waited_for():
    cluster = Cluster()
    cluster.start(0)
    with cluster.connect("tf_simclr worker 0") as connection, connection.makefile() as lines:
        assert "worker 1 at" in lines.readline()  # is missing
    cluster.start(2)
    time.sleep(0.3)
    assert cluster.gone == []
    cluster.start(1)
    assert cluster.finish() == [0, 1, 2]


def test_a_worker_that_was_started_anew_counts_once():
    cluster = Cluster()
    cluster.start(0)
    with cluster.connect("tf_simclr worker 0"), cluster.connect("tf_simclr worker 0"):
        time.sleep(0.2)
        assert cluster.gone == []
    cluster.start(1)
    cluster.start(2)
    assert cluster.finish() == [0, 1, 2]


@pytest.mark.usefixtures("short_answers")
def test_strangers_are_no_workers():
    """Silent ones, such as health checks, those that speak otherwise, and other workers."""
    cluster = Cluster(2)
    cluster.start(0)
    hellos = (None, "GET / HTTP/1.1", "tf_simclr worker 7", "x" * 20_000)
    with contextlib.ExitStack() as stack:
        for hello in hellos:
            stack.enter_context(cluster.connect(hello))
        cluster.start(1)
        assert cluster.finish() == [0, 1]


@pytest.mark.usefixtures("short_answers")
def test_a_stranger_that_speaks_slowly_holds_nobody_up():
    """What it may take counts as a whole, not for each byte."""
    cluster = Cluster(2)
    cluster.start(0)
    with cluster.connect() as connection:
        cluster.start(1)
        began = time.monotonic()
        with contextlib.suppress(OSError):  # it is sent away
            while cluster.gone == [] and time.monotonic() < began + 10:
                connection.sendall(b"x")
                time.sleep(0.1)
        assert time.monotonic() < began + 10
    assert cluster.finish() == [0, 1]


def test_who_answers_at_the_address_of_the_chief_may_be_another():
    """A server that is about to end; the worker waits until the chief itself is there."""
    cluster = Cluster(2)
    with socket.create_server(("localhost", cluster.ports[0])) as server:
        cluster.start(1)
        for answer in (b"PRI * HTTP/2.0\r\n", b""):
            with server.accept()[0] as connection:
                connection.sendall(answer)
    assert cluster.gone == []
    cluster.start(0)
    assert cluster.finish() == [0, 1]


def test_a_port_that_is_taken():
    cluster = Cluster(2)
    with (
        socket.create_server(("", cluster.ports[0])),
        pytest.raises(UserError, match=r"chief 0 at localhost:\d+, where it can't listen \(Addr"),
    ):
        rendezvous.meet(cluster.config(0))


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("sent, raised", [("SIGTERM", Terminated), ("SIGINT", KeyboardInterrupt)])
def test_signals_end_the_wait(number, sent, raised, monkeypatch):
    cluster = Cluster(2)
    monkeypatch.setenv("TF_CONFIG", cluster.config(number))
    timer = threading.Timer(0.3, os.kill, [os.getpid(), getattr(signal, sent)])
    with Watchdog(str), pytest.raises(raised):
        timer.start()
        strategies._multi_worker_strategy()
    timer.join()


@pytest.mark.parametrize(
    "config",
    [
        "nothing",
        "[]",
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "evaluator", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": 5}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_nothing_to_wait_for(config):
    """Mistakes are TensorFlow's to name."""
    rendezvous.meet(config)
