"""A signal ends the program where Python code runs, and where it waits for C++ code."""

import concurrent.futures
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.helpers.waiting import SECONDS, wait_until
from tf_simclr.errors import Terminated
from tf_simclr.runs import interrupts
from tf_simclr.runs.interrupts import Interrupts, Watchdog, what_is_kept

LIMIT = 0.3  # seconds
# Key stretching is C code that no signal interrupts, as are the steps of TensorFlow.
PROGRAM = """
import hashlib, sys, time
from tf_simclr.runs import interrupts
with interrupts.Watchdog(lambda: "KEPT", limit=0.3) as watchdog, interrupts.Interrupts() as noted:
    if "{signals}" == "noted":
        noted.finish_steps()
    {work}
print("after", noted.received, flush=True)
"""
READY = "print('ready', flush=True)"
DEAF = f"{READY}; hashlib.pbkdf2_hmac('sha256', b'', b'', 200_000_000)"
SAVING = "\n    ".join(
    [
        "",
        "with interrupts.hold():",
        f"    {READY}",
        "    while not noted.received: time.sleep(0.01)",
        "    time.sleep(0.8)  # beyond the limit",
        "    watchdog.allow(60)  # to leave, on a busy machine",
    ]
)


def run(work, numbers, signals="obeyed"):
    """(exit status, stdout, stderr, seconds) of a program that gets signals at its work."""
    program = PROGRAM.format(work=work, signals=signals)
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True)
    assert process.stdout.readline() == "ready\n"
    if work == DEAF:
        start = processor_seconds(process)
        wait_until(lambda: processor_seconds(process) > start + 0.1)  # it is at its work
    began = time.monotonic()
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.05)
    stdout, stderr = process.communicate(timeout=SECONDS)
    return process.returncode, stdout, stderr, time.monotonic() - began


def processor_seconds(process):
    return psutil.Process(process.pid).cpu_times().user


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_c_code_that_does_not_end(number, status):
    for signals in ("obeyed", "noted"):
        code, stdout, stderr, seconds = run(DEAF, [number], signals)
        assert code == status, stderr
        assert stdout == "" and LIMIT <= seconds < 10
        line = f"run.py: {number.name}: ended in the middle of what was being done; KEPT\n"
        assert stderr.endswith(line)


def test_a_checkpoint_is_written_to_its_end():
    code, stdout, _, seconds = run(SAVING, [signal.SIGTERM], "noted")
    assert code == 0 and stdout == "after 15\n" and seconds > LIMIT


def test_there_is_time_for_a_step_after_what_was_held(monkeypatch):
    ended = []
    monkeypatch.setattr(interrupts, "LIMIT_OF_SECOND", 0.0)
    monkeypatch.setattr(Watchdog, "_end", lambda self: ended.append(self))
    with Watchdog(str, limit=0.1) as watchdog, Interrupts() as noted:
        noted.finish_steps()
        with interrupts.hold():
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.3)  # beyond the limit
            watchdog.allow(60)  # of a slow step
        time.sleep(0.2)
        assert not ended
        signal.raise_signal(signal.SIGTERM)  # a second one does not wait for the step
        wait_until(lambda: ended)


@pytest.mark.parametrize("also_after_second", [True, False])
def test_a_second_signal_ends_what_may_be_lost(monkeypatch, also_after_second):
    """A validation, but not what is saved within it."""
    ended = []
    monkeypatch.setattr(interrupts, "LIMIT_OF_SECOND", 0.0)
    monkeypatch.setattr(Watchdog, "_end", lambda self: ended.append(self))
    with Watchdog(str, limit=0.0), Interrupts() as noted:
        noted.finish_steps()
        with interrupts.hold(after_second=False), interrupts.hold(after_second=also_after_second):
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.2)
            assert not ended
            signal.raise_signal(signal.SIGTERM)
            if also_after_second:
                time.sleep(0.2)
                assert not ended
            else:
                wait_until(lambda: ended)


def test_python_code_is_interrupted_at_once():
    for number, error in ((signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)):
        with pytest.raises(KeyboardInterrupt) as raised, Watchdog(str):
            signal.raise_signal(number)
            time.sleep(10)
        assert raised.type is error


def test_a_step_is_finished():
    before = signal.getsignal(signal.SIGTERM)
    with Watchdog(str), Interrupts() as noted:
        with pytest.raises(Terminated):  # before the first step there is nothing to save
            signal.raise_signal(signal.SIGTERM)
        noted.finish_steps()
        signal.raise_signal(signal.SIGINT)
        assert noted.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_is_kept(tmp_path):
    directories = [str(tmp_path / "pretrain"), str(tmp_path / "finetune")]
    assert what_is_kept(directories) == what_is_kept([]) == "there was no checkpoint yet"
    (tmp_path / "pretrain").mkdir()
    (tmp_path / "pretrain" / "ckpt-3.index").touch()
    assert f"the last checkpoint in {tmp_path / 'pretrain'} is kept" in what_is_kept(directories)
    assert what_is_kept(["gs://bucket/run"]).startswith("what was saved is kept")


def test_a_training_in_a_thread():
    """Signals are for the main thread: there is nothing to note, and nothing fails."""

    def train():
        with Watchdog(lambda: "kept"), Interrupts() as noted:
            noted.finish_steps()
            return noted.received

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(train).result() is None
