"""What the log says of work that takes long."""

import importlib
import logging as std_logging
import os
import subprocess
import sys
import threading

import pytest
import tqdm
from absl import logging as absl_logging

import tf_simclr
from tests.helpers.waiting import wait_until
from tf_simclr import console
from tf_simclr.console import Progress, announced_if_slow
from tf_simclr.errors import UserError


def test_slow_work_is_announced_while_it_lasts(log):
    with announced_if_slow("a probe", seconds=0.01):
        wait_until(lambda: log.messages)
    assert set(log.messages) == {"still working: a probe"}


def test_quick_work_is_not(log):
    before = threading.enumerate()
    with announced_if_slow("a probe", seconds=60):
        (timer,) = set(threading.enumerate()) - set(before)
    timer.join(30)
    assert not timer.is_alive() and not log.messages


def test_a_notebook_has_a_bar(monkeypatch, capsys, log):
    """Its output is no terminal, but a line can be written over; in a file there are lines."""
    with Progress("training", total=40) as progress:
        progress.update(40, "loss 3")
    assert "training: 40 of 40 images, loss 3" in log.messages[0]
    assert "100%" not in capsys.readouterr().err

    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    with Progress("training", total=40) as progress:
        progress.update(40, "loss 3")
    assert "training: 100%" in capsys.readouterr().err
    assert len(set(log.messages)) == 1


@pytest.mark.parametrize("size, has_bar", [((80, 24), True), ((80, 0), False), ((0, 0), False)])
def test_a_terminal_without_a_size_has_lines(monkeypatch, log, size, has_bar):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(os, "get_terminal_size", lambda file: os.terminal_size(size))
    with Progress("training", total=40) as progress:
        progress.update(40, "loss 3")
    assert bool(log.messages) != has_bar


def test_a_narrow_terminal_shows_how_the_work_goes(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    monkeypatch.setattr(tqdm.std, "_screen_shape_wrapper", lambda: lambda file: (79, 24))
    with Progress("5/6 finetune-selected", total=4000) as progress:
        progress.update(2000, "loss 6.895 (chance 8.29)")
    last = capsys.readouterr().err.split("\r")[-1]
    assert "left, loss 6.895 (chance 8.29)" in last and len(last.strip()) < 80


def test_a_line_of_the_log_stands_above_the_bar(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    handler = absl_logging.get_absl_handler()
    monkeypatch.setattr(handler.python_handler, "stream", sys.stderr)
    console.set_up_logging()
    with Progress("training", total=40) as progress:
        progress.update(20)
        record = {"msg": "about an hour", "pathname": console.__file__, "levelno": std_logging.INFO}
        handler.handle(std_logging.makeLogRecord(record))
    shown = capsys.readouterr().err
    (line,) = [line for line in shown.splitlines() if "about an hour" in line]  # \r ends one, too
    assert line.endswith("about an hour") and "training" not in line


def test_what_was_said_is_not_said_again(monkeypatch):
    handler = absl_logging.get_absl_handler()
    written = []

    def emit(record):
        written.append(record.getMessage())

    monkeypatch.setattr(handler.python_handler, "emit", emit)

    def say(message):
        record = {"msg": message, "pathname": console.__file__, "levelno": std_logging.INFO}
        handler.handle(std_logging.makeLogRecord(record))

    said = set()
    for number in range(2):
        with console.without_repeats(said):
            say("running on one CPU")
            say(f"stage {number}")
    say("running on one CPU")
    assert written == ["running on one CPU", "stage 0", "stage 1", "running on one CPU"]


def test_a_text_is_wrapped_in_a_terminal(monkeypatch):
    text = "Use finetune-selected/saved_model: right.\nOther draws of 20 labels: about ± 1.9"
    assert console.wrapped(text) == text
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    first, second, *others = console.wrapped(text).splitlines()
    assert (first, second) == ("Use finetune-selected/saved_model:", "right.")
    assert others == ["Other draws of 20 labels: about ± 1.9"]


def test_messages_of_an_installed_package_are_shown(monkeypatch):
    """It lies among the libraries, of which only warnings are."""
    folder = f"{os.sep}venv{os.sep}site-packages{os.sep}"
    monkeypatch.setattr(console, "PACKAGE", f"{folder}tf_simclr{os.sep}")

    def is_shown(path, level):
        record = {"pathname": folder + path, "levelno": level, "msg": ""}
        return console._is_for_the_user(std_logging.makeLogRecord(record))

    assert is_shown("tf_simclr/commands/run.py", std_logging.INFO)
    assert not is_shown("tf_simclr_other/run.py", std_logging.INFO)
    assert is_shown("keras/layers.py", std_logging.WARNING)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_of_keras(monkeypatch, backend):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(UserError, match=f"^KERAS_BACKEND={backend}: .* tensorflow alone; unset"):
        console.start_tensorflow()
    for function in (lambda: tf_simclr.load("run"), lambda: tf_simclr.resnet(18)):
        with pytest.raises(UserError, match=f"^KERAS_BACKEND={backend}: "):
            function()


def test_an_empty_backend_of_keras(monkeypatch):
    """Keras would take the one of keras.json."""
    monkeypatch.setenv("KERAS_BACKEND", "")
    importlib.reload(tf_simclr)
    assert os.environ["KERAS_BACKEND"] == "tensorflow"


def test_a_reader_that_has_had_enough():
    """As in `python run.py --help | head -1`."""
    code = "import tf_simclr.console as c; c.print_text('x' * 10**6); c.print_text('y')"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    _, stderr = process.communicate()
    assert (process.returncode, stderr) == (0, b"")


def test_names_can_not_forge_what_a_terminal_shows(monkeypatch, capsys):
    handler = absl_logging.get_absl_handler()
    monkeypatch.setattr(handler.python_handler, "stream", sys.stderr)
    console.set_up_logging()

    def shown(message, *args):
        record = {"msg": message, "args": args, "pathname": console.__file__, "levelno": 20}
        handler.handle(std_logging.makeLogRecord(record))
        return capsys.readouterr().err

    forged = shown("  %s: %s", "\x1b[2J\x9b31m\x7f\n02:00:00 all is well.png", "no image")
    assert forged.endswith("   \\x1b[2J\\x9b31m\\x7f\\n02:00:00 all is well.png: no image\n")
    assert shown("the plan:\n\n%s\n", "| a |\n| \x1b[31mb |").endswith(
        "\n\n| a |\n| \\x1b[31mb |\n\n"
    )
