"""A server that does not answer is waited for as long as was said, and with a line."""

import socket

import pytest

from tests.helpers.waiting import SECONDS
from tf_simclr import distribute
from tf_simclr.distribute import strategies
from tf_simclr.errors import UserError


class Clock:
    """In the place of the module `time`: a sleep alone takes time, and none of that of a test."""

    def __init__(self):
        self.seconds = 0.0

    def monotonic(self):
        return self.seconds

    def sleep(self, seconds):
        self.seconds += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(strategies, "SECONDS_OF_SILENCE", 0.1)
    monkeypatch.setattr(strategies, "SECONDS_BETWEEN_ATTEMPTS", 0.05)
    monkeypatch.setattr(strategies, "time", Clock())
    return strategies.time


@pytest.fixture
def server():
    """A socket that has a port of this machine and does not listen on it."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(SECONDS)
        yield server


@pytest.fixture
def port(server):
    return server.getsockname()[1]


def test_a_closed_port_is_given_up(port, logged):
    logged()
    address = f"grpc://127.0.0.1:{port}"
    with pytest.raises(OSError, match=r"refused, for 0.3 s \(--connect_timeout\)"):
        strategies.wait_for_server(address, "TPU", 0.3)
    assert logged() == [f"waiting for the TPU at {address}, at most 0.3 s"]


def test_a_server_that_starts_later(server, port, clock, monkeypatch):
    monkeypatch.setattr(clock, "sleep", lambda seconds: server.listen())
    strategies.wait_for_server(f"grpc://127.0.0.1:{port}", "TPU", 20)
    server.accept()[0].close()


def test_an_unknown_name_is_not_waited_for(clock, monkeypatch):
    attempts = []

    def create_connection(address, timeout):
        attempts.append(address)
        raise socket.gaierror

    monkeypatch.setattr(socket, "create_connection", create_connection)
    with pytest.raises(socket.gaierror):
        strategies.wait_for_server("grpc://no.such.host.invalid:5", "TPU", 60)
    assert attempts == [("no.such.host.invalid", 5)] and clock.seconds == 0


@pytest.mark.parametrize("flag", ["master", "tpu_name"])
def test_a_tpu_that_does_not_answer(settings, port, flag):
    options = settings(strategy="auto", connect_timeout=0, **{flag: f"grpc://127.0.0.1:{port}"})
    with pytest.raises(UserError, match=r"no TPU answers at 'grpc://127.0.0.1:.*--use_tpu=False"):
        distribute.get_strategy.__wrapped__(options.hardware)
