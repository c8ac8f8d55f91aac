"""A server that does not answer is waited for as long as was said, and with a line."""

import socket
import threading
import time

import pytest

from tf_simclr import distribute
from tf_simclr.distribute import strategies
from tf_simclr.errors import UserError


@pytest.fixture
def port():
    """A port of this machine on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(strategies, "SECONDS_OF_SILENCE", 0.1)
    monkeypatch.setattr(strategies, "SECONDS_BETWEEN_ATTEMPTS", 0.05)


def test_a_closed_port_is_given_up(port, logged):
    logged()
    address = f"grpc://127.0.0.1:{port}"
    with pytest.raises(OSError, match=r"refused, for 0.3 s \(--connect_timeout\)"):
        strategies.wait_for_server(address, "TPU", 0.3)
    assert logged() == [f"waiting for the TPU at {address}, at most 0.3 s"]


def test_a_server_that_starts_later(port):
    def listen():
        time.sleep(0.2)
        with socket.create_server(("127.0.0.1", port)) as server:
            server.accept()[0].close()

    thread = threading.Thread(target=listen)
    thread.start()
    strategies.wait_for_server(f"grpc://127.0.0.1:{port}", "TPU", 20)
    thread.join()


def test_an_unknown_name_is_not_waited_for():
    began = time.monotonic()
    with pytest.raises(socket.gaierror):
        strategies.wait_for_server("grpc://no.such.host.invalid:5", "TPU", 60)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("flag", ["master", "tpu_name"])
def test_a_tpu_that_does_not_answer(settings, port, flag):
    options = settings(strategy="auto", connect_timeout=0, **{flag: f"grpc://127.0.0.1:{port}"})
    with pytest.raises(UserError, match=r"no TPU answers at 'grpc://127.0.0.1:.*--use_tpu=False"):
        distribute.get_strategy.__wrapped__(options.hardware)
