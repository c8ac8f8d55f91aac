"""Labels that are held out, and were learned by what a training starts from."""

import json

import pytest

from tf_simclr.runs import files as run_files
from tf_simclr.training.prior_labels import may_know_held_out


@pytest.fixture
def save_run(settings, tmp_path):
    """A function: name, flags -> the directory of a run with them."""

    def save(name, **flags):
        directory = tmp_path / name
        directory.mkdir()
        content = json.dumps(settings(**flags).flat())
        (directory / run_files.CONFIG).write_text(content)
        return str(directory)

    return save


HOLDS_OUT = {"eval_every_epochs": 1, "labels_per_class": 5}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"train_mode": "finetune", "checkpoint": "x"}, True),
        ({"train_mode": "finetune", "checkpoint": "x", **HOLDS_OUT}, False),
        ({"train_mode": "finetune", "checkpoint": "x", **HOLDS_OUT, "seed": 1}, True),
        ({"train_mode": "supervised", **HOLDS_OUT, "holdout_fraction": 0.3}, True),
        ({"train_mode": "finetune", "checkpoint": "x", "dataset": "cifar10"}, False),
        ({"train_mode": "pretrain"}, False),
    ],
)
def test_a_start_that_has_seen_the_labels(settings, save_run, flags, expected):
    start = save_run("start", **flags)
    for name in ("checkpoint", "teacher_checkpoint"):
        options = settings(train_mode="distill", **HOLDS_OUT, **{name: start})
        assert may_know_held_out(options) == expected
    # Also by way of a stage that holds out the same.
    middle = save_run("middle", train_mode="finetune", checkpoint=start, **HOLDS_OUT)
    options = settings(train_mode="finetune", checkpoint=middle, **HOLDS_OUT)
    assert may_know_held_out(options) == expected


def test_without_a_start(settings):
    assert not may_know_held_out(settings(train_mode="supervised", **HOLDS_OUT))
