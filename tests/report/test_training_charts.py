"""The charts of trainings: what is drawn of losses that are no equals."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.verdict_runs import right, run
from tf_simclr.report import training_charts
from tf_simclr.report.training_curves import Curve


def loss_chart(losses):
    """The chart of pretraining losses: {run: (its last loss, chance)}."""
    runs = []
    for name, (loss, chance) in losses.items():
        steps = np.array([1, 9])
        curves = {
            "train/pretext_loss": Curve(steps, np.array([chance, loss])),
            "train/pretext_chance": Curve(steps, np.array([chance, chance])),
        }
        made = run(name, "pretrain", probe=right(0.5), best=None)
        runs.append(dataclasses.replace(made, curves=curves))
    (chart,) = training_charts.curves(runs)
    return chart


def test_losses_with_different_chances_share_an_axis():
    chart = loss_chart({"a": (22.5, 45.0), "b": (0.1, 0.4)})
    assert chart.title == "Loss of the pretext task / chance"
    assert "a: 1 at step 1, 0.5 at step 9. b: 1 at step 1, 0.25 at step 9." in chart.words
    assert chart.words.endswith("Chance: 1.") and "divided by the value at chance" in chart.caption


@pytest.mark.parametrize("chance", [0.0, 9.7])
def test_losses_with_the_same_chance_stay_as_they_are(chance):
    chart = loss_chart({"a": (22.5, chance), "b": (0.1, chance)})
    assert chart.title == "Loss of the pretext task" and "22.5 at step 9" in chart.words


def test_chances_that_are_measured_are_as_good_as_equal():
    chart = loss_chart({"a": (2.5, 3.9123), "b": (0.1, 3.9131)})
    assert chart.title == "Loss of the pretext task" and "2.5 at step 9" in chart.words


def test_what_is_divided_has_no_unit():
    runs = []
    for name, batch_size in (("a", 128), ("b", 512)):
        curves = {"train/contrast_entropy": Curve(np.array([1, 9]), np.array([4.0, 2.0]))}
        flags = {"train_batch_size": batch_size}
        made = run(name, "pretrain", probe=right(0.5), flags=flags, best=None)
        runs.append(dataclasses.replace(made, curves=curves))
    (alone,) = training_charts.curves(runs[:1])
    (divided,) = training_charts.curves(runs)
    assert alone.caption.startswith("in nats; ") and "nats" not in divided.caption
