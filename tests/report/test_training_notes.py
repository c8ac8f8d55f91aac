"""What is said of trainings that are not finished or have not learned."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.verdict_runs import right, run
from tf_simclr.report import page, training_notes, verdict
from tf_simclr.report.training_curves import Curve


@pytest.fixture
def trained():
    """A function: facts, curves {tag: last value or values} -> a run without a best step."""

    def make(facts=(), curves=(), best=None, **given):
        made = run(
            "pretrain", "pretrain", **(given or {"probe": right(0.5)}), facts=facts, best=best
        )
        of_tags = {}
        for tag, last in dict(curves).items():
            values = np.append(9.0, last)
            of_tags[tag] = Curve(np.arange(len(values)), values)
        return dataclasses.replace(made, curves=of_tags)

    return make


def test_a_training_that_is_not_finished(trained):
    unfinished = trained({"step": 92, "total_steps": 1899})
    note = "pretrain was evaluated after 92 of 1,899 steps of its training."
    assert training_notes.notes(unfinished) == [note]
    assert note in verdict.of_runs([unfinished]).notes
    finished = trained({"step": 92, "total_steps": 92})
    assert training_notes.notes(finished) == []
    command = "python run.py --mode=eval --model_dir=NEW --checkpoint=elsewhere"
    imported = trained({"step": 0, "total_steps": 1563}, probe=right(0.5), command=command)
    assert training_notes.notes(imported) == []


@pytest.mark.parametrize("task", ["contrast", "pretext"])
def test_a_loss_above_chance(trained, task):
    def notes(loss):
        curves = {f"train/{task}_loss": loss, f"train/{task}_chance": 8.29}
        return training_notes.notes(trained({"step": 880}, curves))

    assert notes(8.0) == []
    assert notes(10.063) == ["The loss of pretrain ended above chance (10.06, chance 8.29)."]
    assert notes([7.9] * 39 + [8.5]) == []  # one bad batch


def test_a_loss_above_chance_that_is_excused(trained):
    """By right answers, which a sure network pays for; by better weights that were taken."""

    def notes(accuracy, best=None):
        curves = {
            "train/contrast_loss": 10.0,
            "train/contrast_chance": 8.29,
            "train/contrast_acc": accuracy,
        }
        return training_notes.notes(trained({"step": 880}, curves, best))

    batch_size = trained().get("flags")["train_batch_size"]
    assert len(notes(1.9 / batch_size)) == 1
    assert notes(2.1 / batch_size) == []
    assert notes(0.0, best={"step": 9, "value": 0.5, "criterion": "knn_accuracy"}) == []


def test_without_a_verdict_the_card_says_it(trained):
    unfinished = trained({"step": 92, "total_steps": 899, "labels": 0})
    unfinished.document["figures"] = {"trained": {"final_avg_pool": {"uniformity": -0.1}}}
    assert verdict.of_runs([unfinished]) is None
    assert "after 92 of 899 steps" in page.render([unfinished])
