"""The evaluation beside a training: which checkpoints it evaluates, and when it ends."""

import types

import pytest

from tf_simclr import distribute
from tf_simclr.commands import evaluate, evaluate_checkpoints
from tf_simclr.errors import Failed


class Run:
    """A training of 3 steps, of which this program sees what is in a list at each look.

    Attributes:
        looks: [(step of the newest checkpoint or None, whether it is in training)]; when one is
            looked up, the training goes on to the next.
        evaluated: steps.
    """

    def __init__(self, looks, num_steps=3):
        self.looks = list(looks)
        self.evaluated = []
        self.num_steps = num_steps
        self.imported = self.strategy = None
        self.settings = types.SimpleNamespace(eval=types.SimpleNamespace(eval_timeout=0))
        self.directory = self.checkpoints = self
        self.path = "run"
        self.step = 0

    def latest(self):
        step, _ = self.looks[0]
        if len(self.looks) > 1:
            self.looks.pop(0)
        return step and f"run/ckpt-{step}"

    def in_training(self):
        _, in_training = self.looks[0]
        return in_training

    def resume(self, prefix):
        self.step = int(prefix.rsplit("-", 1)[1])


@pytest.fixture
def evaluate_run(monkeypatch):
    """A function: looks -> the steps that are evaluated."""
    monkeypatch.setattr(evaluate_checkpoints, "SECONDS_BETWEEN_CHECKS", 0)
    monkeypatch.setattr(
        evaluate, "evaluate_and_export", lambda run: run.evaluated.append(int(run.step))
    )

    def evaluate_run(*looks):
        run = Run(looks)
        evaluate_checkpoints.evaluate_run(run)
        return run.evaluated

    return evaluate_run


def test_the_last_checkpoint_of_a_training_is_evaluated(evaluate_run):
    """Also if the training is stopped while the one before is evaluated."""
    assert evaluate_run((1, True), (2, False)) == [1, 2]
    assert evaluate_run((None, True), (1, True), (1, True), (3, True)) == [1, 3]
    assert evaluate_run((2, False)) == [2]


def test_workers_evaluate_the_same_checkpoint(evaluate_run, monkeypatch):
    agreed = iter([False, True, True])
    monkeypatch.setattr(distribute, "all_workers_agree", lambda strategy, step: next(agreed))
    assert evaluate_run((1, True), (2, True), (3, True)) == [2, 3]


def test_workers_without_a_common_directory(evaluate_run, monkeypatch):
    monkeypatch.setattr(distribute, "all_workers_agree", lambda strategy, step: False)
    with pytest.raises(Failed, match=r"do not see the same checkpoints there \(here step 2\)"):
        evaluate_run((1, True), (2, False))
