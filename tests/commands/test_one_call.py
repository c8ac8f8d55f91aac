"""`tf_simclr.train` without its work: what it passes on, and what it leaves behind."""

import keras
import pytest

from tf_simclr import report
from tf_simclr.commands import one_call
from tf_simclr.commands import run as commands
from tf_simclr.errors import UserError


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


def train(labels=None, **flags):
    return one_call.train("digits", "run", minutes=1, labels=labels, flags=flags)


def test_the_policy_of_the_process_stays(without_work):
    train(precision="bfloat16")
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"plan": True}, "plan=True: nothing is trained"),
        ({"mode": "train"}, "mode=train: nothing is evaluated.*; give eval or train_then_eval,"),
        ({"mode": "predict"}, "mode=predict: nothing is evaluated"),
    ],
)
def test_what_gives_no_model_is_refused_before_it_begins(without_work, flags, message):
    with pytest.raises(UserError, match=message):
        train(**flags)
    assert not without_work


@pytest.mark.parametrize("images", ["photos/", "./photos", "/data/photos", "~/photos"])
def test_a_folder_that_is_not_there_is_one(without_work, images):
    one_call.train(images, "run", minutes=1, labels=None, flags={})
    assert f"--dataset=folder:{images}" in without_work[0]


def test_labels_of_a_recipe_stay_where_none_are_given(without_work):
    for labels in (None, "", "labels.csv"):
        train(labels)
    without, empty, table = without_work
    assert not any(argument.startswith("--labels=") for argument in without)
    assert "--labels=" in empty and "--labels=labels.csv" in table
