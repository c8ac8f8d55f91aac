"""A budget of time divided among stages, and the network that it is enough for."""

import dataclasses
import types

import pytest

from tests.commands.planning.test_rules import PHOTOS, THUMBNAILS
from tf_simclr.commands.planning import budget, network_choice, networks, time_decisions
from tf_simclr.commands.planning.costs import Pace

CHAIN = ("supervised", "pretrain", "finetune", "distill")
SEMI = ("pretrain", "semi")
PACE = Pace(first_step=5.0, step=0.25)


def divided(seconds, stages=CHAIN, images=THUMBNAILS, pace=PACE, **options):
    return budget.divide(images, stages, pace, seconds, **options)


@pytest.mark.parametrize("stages", [CHAIN, ("pretrain",), ("finetune", "distill"), SEMI])
@pytest.mark.parametrize("seconds", [200, 1000, 10_000])
def test_the_time_is_used_and_not_exceeded(stages, seconds):
    plans = divided(seconds, stages)
    total = sum(plan.seconds for plan in plans.values())
    assert 0.95 * seconds < total <= seconds + 1


def test_stages_on_labels_take_what_they_profit_from():
    plans = divided(10_000)
    assert (plans["supervised"].steps, plans["finetune"].steps) == (300, 200)
    all_labels = dataclasses.replace(THUMBNAILS, num_labels=3000)
    assert divided(10_000, images=all_labels)["supervised"].steps == 60 * 3000 // 64
    short = divided(200)
    on_labels = sum(short[stage].seconds for stage in ("supervised", "finetune"))
    assert on_labels < sum(plan.seconds for plan in short.values()) / 2
    shorter = divided(200, stages=CHAIN[:3], images=all_labels)
    on_labels = sum(shorter[stage].seconds for stage in ("supervised", "finetune"))
    assert on_labels > sum(plan.seconds for plan in shorter.values()) / 2


def test_held_out_labels_choose_where_there_is_time():
    assert not any(plan.chooses for plan in divided(600).values())
    some = divided(2_500)
    assert some["finetune"].chooses and not some["supervised"].chooses
    plans = divided(10_000)
    assert [name for name, plan in plans.items() if plan.chooses] == ["supervised", "finetune"]
    seconds_per_step = PACE.step / 2 * 50 / 64
    assert plans["finetune"].seconds > 9 * plans["finetune"].steps * seconds_per_step
    # Three draws of both lengths, and the longer one in the end.
    most_steps = (3 * (1 + 3) + 3) * plans["supervised"].steps
    assert plans["supervised"].seconds > most_steps * seconds_per_step
    few = dataclasses.replace(THUMBNAILS, num_labels=15)
    assert not divided(10_000, images=few)["finetune"].chooses
    # No class loses its last label.
    single = dataclasses.replace(THUMBNAILS, class_counts=(1,) * 47 + (3,))
    assert not divided(10_000, images=single)["finetune"].chooses
    pairs = dataclasses.replace(THUMBNAILS, class_counts=(2,) * 25)
    assert divided(10_000, images=pairs)["finetune"].chooses


def test_a_student_sees_each_image_or_is_left_out():
    assert "distill" not in divided(110)
    assert "distill" in divided(110, may_shorten=False)
    plans = divided(1000)
    assert plans["distill"].epochs >= 1
    assert plans["distill"].epochs == pytest.approx(plans["distill"].steps * 64 / 3000)


def test_stages_too_short_for_many_labels():
    """A baseline is left out, and fine-tuning is the start of its head alone."""
    many = dataclasses.replace(THUMBNAILS, num_images=18_000, num_labels=18_000)
    plans = divided(150, stages=CHAIN[:3], images=many)
    assert list(plans) == ["pretrain", "finetune"]
    assert plans["finetune"].steps == 1 and plans["pretrain"].steps > 200
    given = divided(150, stages=CHAIN[:3], images=many, may_shorten=False)
    assert list(given) == list(CHAIN[:3])
    assert given["pretrain"].steps < plans["pretrain"].steps
    assert list(divided(60, stages=("supervised",), images=many)) == ["supervised"]
    # Two epochs of the labels are not enough, either.
    assert divided(250, stages=CHAIN[:3], images=many)["finetune"].is_start
    enough = divided(3000, stages=CHAIN[:3], images=many)
    assert enough["supervised"].epochs >= 1
    assert enough["finetune"].epochs >= 3 and not enough["finetune"].is_start


@pytest.mark.parametrize("seconds", range(150, 175))
def test_a_finetuning_is_its_start_or_sees_each_label_three_times(seconds):
    some = dataclasses.replace(THUMBNAILS, num_labels=5000, num_images=5000)
    plan = divided(seconds, stages=("pretrain", "finetune"), images=some)["finetune"]
    assert plan.is_start == (plan.steps == 1)
    assert plan.is_start or plan.epochs > 3 - 64 / 5000


def test_the_untrained_network_is_evaluated_once():
    """Later stages take its results from the first."""
    many = dataclasses.replace(THUMBNAILS, num_evaluated=20_000)
    first, second = divided(10_000, ("pretrain", "pretrain-b"), images=many).values()
    forward = PACE.step / (2 * 64) / 3
    assert first.steps == second.steps
    assert first.seconds - second.seconds == pytest.approx(forward * (20_000 + many.num_labels))


def test_too_little_time_is_a_step_each():
    assert all(plan.steps == 1 for plan in divided(1, may_shorten=False).values())


class Machine:
    """Times candidates by their work, and counts."""

    def __init__(self, seconds_per_work):
        self.seconds_per_work = seconds_per_work
        self.timed = []

    def measure(self, candidate):
        self.timed.append(candidate)
        return Pace(5.0, self.seconds_per_work * work_of(candidate))

    def choose(self, images, seconds):
        def suits(candidate, pace):
            plans = divided(seconds, ("pretrain",), images, pace)
            return network_choice.is_enough(plans["pretrain"])

        return network_choice.choose(networks.candidates(images), work_of, self.measure, suits)


def work_of(candidate):
    return (
        candidate.width_multiplier**2
        * candidate.image_size**2
        * (3 if candidate.resnet_depth > 18 else 1)
    )


@pytest.mark.parametrize("images", [THUMBNAILS, PHOTOS])
def test_more_time_or_a_faster_machine_means_a_larger_network(images):
    works = []
    for seconds, seconds_per_work in ((300, 1e-3), (3000, 1e-3), (30_000, 1e-3), (30_000, 1e-6)):
        machine = Machine(seconds_per_work)
        chosen, paces = machine.choose(images, seconds)
        assert chosen in paces and 1 <= len(machine.timed) <= network_choice.MAX_TRIALS
        assert len(set(machine.timed)) == len(machine.timed)
        works.append(work_of(chosen))
    assert works == sorted(works) and works[0] < works[-1]
    assert works[-1] == work_of(networks.candidates(images)[-1])


def test_a_prediction_that_was_wrong_is_corrected():
    """The second network takes far longer than its work says: the first one is taken."""
    first, second = possible = networks.candidates(THUMBNAILS)[:2]
    paces = {first: Pace(5.0, 0.01), second: Pace(5.0, 10.0)}
    chosen, measured = network_choice.choose(
        possible, work_of, paces.__getitem__, lambda candidate, pace: pace.step < 0.1
    )
    assert chosen == first and measured == paces


def test_little_time_without_labels_evaluates_what_needs_none():
    plans = {"pretrain": types.SimpleNamespace(is_brief=True)}
    few = time_decisions._evaluations(plans, types.SimpleNamespace(num_labels=0))
    assert few == {"evaluations": ["neighbors", "health"]}
    few = time_decisions._evaluations(plans, types.SimpleNamespace(num_labels=9))
    assert "classifier" in few["evaluations"]
