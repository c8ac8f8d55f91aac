"""A loss at chance level, or one that grows, is said once."""

import math

import pytest

from tf_simclr.training.loss_watch import WINDOW, LossWatch


@pytest.fixture
def warnings(settings, logged):
    """A function: losses, chance level -> the warnings of a training of 400 steps."""

    def warnings(losses, chance=None, name="contrast", warning=None, warmup=0, accuracy=None):
        options = settings(learning_rate=0.3, train_batch_size=50)
        watch = LossWatch(options, num_steps=400, warmup=warmup, num_classes=10)
        logged()
        for step, loss in enumerate(losses, 1):
            metrics = {f"{name}_loss": loss}
            if chance is not None:
                metrics[f"{name}_chance"] = chance
            if accuracy is not None:
                metrics[f"{name}_acc"] = accuracy
            watch.after(step, metrics, warning)
        return logged()

    return warnings


@pytest.mark.parametrize("name", ["contrast", "pretext"])
def test_a_loss_at_chance_level(warnings, name):
    (line,) = warnings([8.0] * 200, chance=8.0, name=name)
    assert line.startswith("step 40: nothing is learned so far, with 10% of the training done")
    assert f"{name}_loss is 8.000 over {WINDOW} steps, chance 8.000" in line
    assert "--learning_rate=0.1 or ten times that" in line
    assert warnings([8.0] * 39, chance=8.0, name=name) == []
    assert warnings([7.5] * 200, chance=8.0, name=name) == []


@pytest.mark.parametrize(
    "name, chance, by_guessing",
    [
        ("contrast", 2 * math.log(99), 1 / 50),
        ("contrast", 2 * math.log(99 + 4096), 1 / 50),  # keys of a memory are no answers
        ("pretext", math.log(50), 1 / 50),
    ],
)
def test_right_answers_show_that_something_is_learned(warnings, name, chance, by_guessing):
    """A view is looked for among those of the 50 images of the batch."""
    losses = [chance] * 200
    assert warnings(losses, chance=chance, name=name, accuracy=2.1 * by_guessing) == []
    (line,) = warnings(losses, chance=chance, name=name, accuracy=1.9 * by_guessing)
    assert "nothing is learned so far" in line


def test_the_warm_up_is_waited_for(warnings):
    (line,) = warnings([8.0] * 300, chance=8.0, warmup=100)
    assert line.startswith("step 100: ")
    assert warnings([8.0] * 60 + [7.0] * 240, chance=8.0, warmup=100) == []


def test_a_supervised_loss_at_chance_level(warnings):
    (line,) = warnings([math.log(10)] * 100, name="supervised")
    assert "supervised_loss is 2.303 over 20 steps, chance 2.303" in line
    assert warnings([2.1] * 100, name="supervised") == []


def test_a_loss_that_grows(warnings):
    (line,) = warnings([7.0] * 100 + [20.0] * 100, chance=8.0)
    assert "the training diverges: contrast_loss is" in line
    assert "stop it, and try --learning_rate=0.1 in a new --model_dir" in line
    assert warnings([7.0] * 100 + [20.0] * 5 + [7.0] * 100, chance=8.0) == []
    assert len(warnings([1.0] * 100 + [2.0] * 100, name="distill")) == 1


def test_values_that_are_not_finite_are_left_out(warnings):
    assert warnings([7.0, math.nan] * 100, chance=8.0) == []


def test_what_the_objective_says_is_said_once(warnings):
    """Not of the first steps, whose embeddings are those of random weights."""
    assert warnings([1.0] * 50, chance=8.0, warning="collapsed") == ["step 40: collapsed"]
