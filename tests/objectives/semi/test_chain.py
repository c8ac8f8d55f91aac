"""A chain with a method of one's own: one file and one line, then like any other stage."""

import json

import numpy as np
import pytest

import tf_simclr
from tests.helpers import packages
from tests.helpers.configurations import TINY, parse_command_line
from tf_simclr.config.registry import SEMI_METHODS
from tf_simclr.errors import UserError

pytestmark = pytest.mark.usefixtures("shallow")
SURE = """
import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.objectives.semi import pseudo_labels
from tf_simclr.objectives.semi.base import SemiTask


class Sure(SemiTask):
    published_ratio = 3.0

    def unlabeled_loss(self, outputs, is_unlabeled, training):
        predictions = tf.nn.softmax(outputs["logits"][:, 0])
        doubts = 1 - tf.reduce_max(predictions, -1)
        loss = distribute.weighted_mean(doubts, is_unlabeled)
        return loss, pseudo_labels.gauge(predictions, is_unlabeled)
"""


FLAGS = {
    "semi_method": "sure",
    "ft_proj_selector": 1,
    "labels_per_class": 5,
    "eval_every_epochs": 1,
    "evaluations": "classifier,knn",
    "untrained_baseline": False,
    "color_jitter_strength": 0,
    "train_steps": 2,
}


@pytest.fixture
def sure(tmp_path, monkeypatch):
    """A method in a package of somebody else, and its line in the table."""
    packages.write_module(tmp_path, monkeypatch, "methods_of_mine.sure", SURE)
    monkeypatch.setitem(SEMI_METHODS, "sure", "methods_of_mine.sure.Sure")


def test_a_chain(sure, eager, main, tmp_path):
    """Pretrained, trained, validated; evaluated, exported and loaded as what was evaluated.

    The second command evaluates the last stage alone, which is all that is of interest here.
    """
    root = tmp_path / "run"
    flags = [f"--{name}={value}" for name, value in {**TINY, **FLAGS}.items()]
    commands = (
        ["--mode=train", "--train_mode=pretrain,semi", f"--model_dir={root}"],
        [
            "--mode=train_then_eval",
            "--train_mode=semi",
            f"--checkpoint={root}/pretrain",
            f"--model_dir={root}/semi",
        ],
    )
    for command in commands:
        status, stderr = main(*flags, *command)
        assert status == 0, stderr
    run = root / "semi"
    results = json.loads((run / "results.json").read_text())
    assert results["flags"]["semi_method"] == "sure" and results["run"]["labels"] < 50
    assert "label_top_1_accuracy" in results["figures"]["trained"]["classifier"]
    assert "semi (sure)" in (run / "report.html").read_text()
    model_card = run / "saved_model" / "2" / "assets" / "model_card.md"
    assert "stage `semi` (sure), 2 steps" in model_card.read_text()
    assert json.loads((root / "flags.json").read_text())["train_mode"] == "pretrain,semi"
    assert json.loads((run / "best" / "best.json").read_text())["step"] == 2

    images = np.random.default_rng(0).random((4, 16, 16, 3)).astype(np.float32)
    expected = tf_simclr.load(run / "saved_model" / "2").predict(images)
    for path in (run, run / "best"):
        actual = tf_simclr.load(path).predict(images)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_where_stages_start():
    """From the nearest pretraining or fine-tuning; a student learns from it."""
    configs, _ = parse_command_line(
        "--train_mode=pretrain,semi,finetune,semi-late,distill", "--dataset=digits", "--model_dir=a"
    )
    starts = [settings.objective.checkpoint for settings in configs]
    assert starts == ["", "a/pretrain", "a/pretrain", "a/finetune", ""]
    assert configs[-1].objective.teacher_checkpoint == "a/semi-late"
    (alone,), _ = parse_command_line("--train_mode=semi", "--dataset=digits", "--checkpoint=b")
    assert alone.objective.checkpoint == "b"
    message = r"--semi_method=fixmach: accepted are .* Did you mean 'fixmatch'"
    with pytest.raises(UserError, match=message):
        parse_command_line("--train_mode=semi", "--dataset=digits", "--semi_method=fixmach")
