"""Labels that are held out, and were learned by what a training starts from."""

import json

import pytest

from tf_simclr.config import inheritance
from tf_simclr.runs import files as run_files
from tf_simclr.training.prior_labels import may_know_held_out, may_know_labels


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
        ({"train_mode": "pretrain", "lineareval_while_pretraining": False}, False),
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


@pytest.mark.parametrize("has_classifier", [True, False])
def test_a_teacher_that_is_a_pretraining(settings, save_run, has_classifier):
    """What is learned from it is the classifier on its side."""
    teacher = save_run("teacher", lineareval_while_pretraining=has_classifier)
    options = settings(train_mode="distill", **HOLDS_OUT, teacher_checkpoint=teacher)
    assert may_know_held_out(options) == has_classifier
    options = settings(train_mode="distill", **HOLDS_OUT, checkpoint=teacher)
    assert not may_know_held_out(options)


def test_a_table_under_another_name(settings, save_run, tmp_path):
    """The same labels are held out, so they are not learned."""
    table = tmp_path / "labels.csv"
    table.touch()
    data = {"dataset": f"folder:{tmp_path}", **HOLDS_OUT}
    start = save_run("start", train_mode="supervised", labels="labels.csv", **data)
    for labels, expected in ((str(table), False), ("other.csv", True)):
        options = settings(train_mode="finetune", checkpoint=start, labels=labels, **data)
        assert may_know_held_out(options) == expected


def test_without_a_start(settings):
    assert not may_know_held_out(settings(train_mode="supervised", **HOLDS_OUT))


@pytest.mark.parametrize(
    ("train_mode", "flags", "expected"),
    [
        ("pretrain", {}, True),
        ("finetune", {}, False),
        ("finetune", {"keep_logits_layer": True}, True),
    ],
)
@pytest.mark.parametrize("has_classifier", [True, False])
def test_the_classifier_beside_a_pretraining(
    settings, save_run, train_mode, flags, expected, has_classifier
):
    """It counts where its linear head is taken over."""
    start = save_run("start", lineareval_while_pretraining=has_classifier)
    options = settings(train_mode=train_mode, checkpoint=start, **flags, **HOLDS_OUT)
    assert may_know_held_out(options) == (expected and has_classifier)
    middle = save_run("middle", checkpoint=start, **HOLDS_OUT)
    options = settings(train_mode=train_mode, checkpoint=middle, **flags, **HOLDS_OUT)
    assert may_know_held_out(options) == (expected and has_classifier)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"train_mode": "finetune", "checkpoint": "x"}, True),
        ({"train_mode": "distill", "teacher_checkpoint": "x"}, True),
        ({"train_mode": "finetune", "checkpoint": "x", "dataset": "cifar10"}, False),
        ({"train_mode": "pretrain"}, False),  # its classifier teaches the features nothing
    ],
)
def test_features_that_know_the_labels(settings, save_run, flags, expected):
    start = save_run("start", **flags)
    imported = settings(train_mode=flags["train_mode"], checkpoint=start)
    assert may_know_labels(imported, is_imported=True) == expected
    options = settings(train_mode="pretrain", checkpoint=start)
    assert may_know_labels(options, is_imported=False) == expected
    trained = settings(train_mode="finetune", checkpoint=start)
    assert may_know_labels(trained, is_imported=False)


@pytest.mark.parametrize(("train_mode", "expected"), [("finetune", True), ("pretrain", False)])
def test_an_export_may_have_learned_any_labels(settings, tmp_path, train_mode, expected):
    """Its flags do not say of which data set it is."""
    assets = tmp_path / "5" / run_files.ASSETS
    assets.mkdir(parents=True)
    (tmp_path / "5" / "saved_model.pb").touch()
    options = settings(train_mode="finetune", checkpoint=str(tmp_path / "5"), **HOLDS_OUT)
    resolved = settings(train_mode=train_mode, checkpoint="x").resolved()
    content = {name: resolved[name] for name in inheritance.NETWORK_FLAGS}
    (assets / run_files.CONFIG).write_text(json.dumps(content))
    assert may_know_held_out(options) == expected
