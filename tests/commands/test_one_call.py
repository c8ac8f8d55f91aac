"""`tf_simclr.train` without its work: what it passes on, and what it leaves behind."""

import keras
import pytest

from tf_simclr import report
from tf_simclr.commands import one_call
from tf_simclr.commands import run as commands


@pytest.fixture
def without_work(settings, monkeypatch):
    """What is passed on, as lists of arguments; the run itself only sets a policy."""
    passed_on = []

    def parse(arguments, flag_values):
        passed_on.append(arguments)
        return [settings()]

    def run(configs):
        keras.config.set_dtype_policy("mixed_bfloat16")

    monkeypatch.setattr(commands, "parse", parse)
    monkeypatch.setattr(commands, "run", run)
    monkeypatch.setattr(report, "advised", lambda directories: None)
    return passed_on


def train(**flags):
    return one_call.train("digits", "run", minutes=1, labels="", flags=flags)


def test_the_policy_of_the_process_stays(without_work):
    train(precision="bfloat16")
    assert keras.config.dtype_policy().name == "float32"
