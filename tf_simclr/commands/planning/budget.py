"""A budget of time divided among the stages of a chain."""

import dataclasses
from collections.abc import Sequence

from tf_simclr.commands.planning.batch_sizes import LABEL_MODES, size_of
from tf_simclr.commands.planning.costs import Pace, costs_of
from tf_simclr.commands.planning.facts import Facts
from tf_simclr.config.held_out_choices import CHOICES, FEW_LABELS, NUM_DRAWS
from tf_simclr.config.stages import mode_of

MARGIN = 0.06  # of the budget, for what can't be foretold
MAX_OVERHEAD_SHARE = 0.3  # of the time with all evaluations; beyond, few are made
LEAST_STEPS_SHARE = 0.1  # of the time, with few evaluations; a budget with less is refused
DISTILL_SHARE = 0.25  # of the time of pretraining and distillation
# Of the time of all steps, for all stages on labels: where most images have none, and else.
MAX_LABEL_SHARE = {True: 0.25, False: 0.6}
LABEL_STEPS = {"supervised": 300, "finetune": 200}  # at least, where the time suffices
LABEL_EPOCHS = {"supervised": 60, "finetune": 40}  # of more labels than these steps need
STUDENTS = ("semi", "distill")  # modes that learn from predictions for all images
# Modes that are left out where they would not see each image, or each label, once; these first.
LEFT_OUT = (STUDENTS, ("supervised",))
FEWEST_LABELS_OF_CHOICE = 20  # a third of fewer says nothing
MAX_CHOICE_SHARE = 0.15  # of the time of all steps, for what held-out labels choose of a stage
LEAST_EPOCHS = 1  # in which each image is seen
LEAST_FINETUNE_EPOCHS = 3  # of the labels; a shorter fine-tuning may end below its start


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """A stage in numbers.

    Attributes:
        steps: of its training.
        epochs: the same in epochs of its images.
        seconds: all that it takes, its evaluation and export included.
        chooses: whether there is time for what held-out labels can choose of it.
        is_start: of a fine-tuning, whether it is only the start of its head.
        is_brief: whether all evaluations would take too large a part of the time.
    """

    steps: int
    epochs: float
    seconds: float
    chooses: bool = False
    is_start: bool = False
    is_brief: bool = False


def divide(
    facts: Facts,
    stages: Sequence[str],
    pace: Pace,
    seconds: float,
    may_shorten: bool = True,
) -> dict[str, StagePlan]:
    """Divides the time that is left among the stages.

    Stages on labels take the steps that they profit from, at most a quarter of the time, or more
    where most images have a label; distillation a quarter of the rest, and pretraining what is
    left. A fine-tuning that would not see each label three times is a step, for the start of its
    head.

    Args:
        facts: of the images.
        stages: their names, in order.
        pace: of pretraining at its batch size.
        seconds: that all stages may take together.
        may_shorten: whether `LEFT_OUT` holds.
    """
    costs = costs_of(facts, pace, is_brief=False)
    if costs.of_all(stages) > MAX_OVERHEAD_SHARE * seconds:
        costs = costs_of(facts, pace, is_brief=True)
    starts = sum(costs.start(mode_of(stage), facts) for stage in stages)
    for_steps = max(seconds - costs.of_all(stages) - starts, 0.0)
    choices = _seconds_of_choices(facts, stages, costs, pace, MAX_CHOICE_SHARE * for_steps)
    shares = _shares(facts, stages, costs, for_steps - sum(choices.values()))
    besides = {stages[0]: costs.baseline}
    plans = {}
    for stage in stages:
        extra = besides.get(stage, 0.0) + choices.get(stage, 0.0)
        plan = _plan(mode_of(stage), shares[stage], extra, costs, facts)
        plans[stage] = dataclasses.replace(plan, chooses=stage in choices)
    rest = _long_enough(plans) if may_shorten else list(plans)
    if len(rest) < len(plans):
        return divide(facts, rest, pace, seconds, may_shorten)
    return plans


def _long_enough(plans):
    """The stages without the first of `LEFT_OUT` that are too short; one stays at least."""
    for modes in LEFT_OUT:
        rest = [
            stage
            for stage, plan in plans.items()
            if mode_of(stage) not in modes or plan.epochs >= LEAST_EPOCHS
        ]
        if 0 < len(rest) < len(plans):
            return rest
    return list(plans)


def _plan(mode, share, extra, costs, facts):
    """The plan of a stage whose steps may take `share` seconds, and that has `extra` ones."""
    time_of_step, num_images = costs.of(mode, facts)
    steps = max(int(share / time_of_step), 1)
    epochs = steps * costs.sizes[mode] / num_images
    seconds = steps * time_of_step + costs.overhead + costs.start(mode, facts) + extra
    is_start = mode == "finetune" and not share  # see `_shares`
    return StagePlan(steps, epochs, seconds, is_start=is_start, is_brief=costs.is_brief)


def overhead(facts: Facts, stages: Sequence[str], pace: Pace) -> float:
    """Seconds that stages take at least, besides their steps."""
    costs = costs_of(facts, pace, is_brief=True)
    return costs.of_all(stages) + sum(costs.start(mode_of(stage), facts) for stage in stages)


def _seconds_of_choices(facts, stages, costs, pace, most):
    """{stage: seconds of what held-out labels choose of it}, where they are not more than `most`.

    The last stages come first: they are what is used in the end.
    """
    if not _has_labels_of_choice(facts):
        return {}
    num_draws = NUM_DRAWS if facts.num_labels < FEW_LABELS else 1
    choices = {choice.train_mode: choice for choice in CHOICES}
    seconds = {}
    for stage in reversed(stages):
        mode = mode_of(stage)
        if mode not in choices:
            continue
        candidates = choices[mode].candidates.values()
        lengths = [flags.get("steps_factor", 1) for flags in candidates]
        steps = _label_steps(mode, facts) * costs.of(mode, facts)[0]
        total = num_draws * (steps * sum(lengths) + pace.first_step * len(lengths))
        # The longest candidate may be what is trained in the end.
        total += steps * (max(lengths) - 1)
        if sum(seconds.values()) + total <= most:
            seconds[stage] = total
    return seconds


def _has_labels_of_choice(facts):
    """Whether a third of the labels says something; no class can lose its last one."""
    if facts.num_labels < FEWEST_LABELS_OF_CHOICE:
        return False
    num_spare = sum(max(count - 1, 0) for count in facts.class_counts)
    return not facts.class_counts or num_spare >= FEWEST_LABELS_OF_CHOICE // 3


def _shares(facts, stages, costs, for_steps):
    """{stage: seconds of its steps}."""
    shares = {}
    on_labels = [stage for stage in stages if mode_of(stage) in LABEL_MODES]
    max_share = MAX_LABEL_SHARE[facts.is_mostly_unlabeled]
    for stage in on_labels:
        mode = mode_of(stage)
        time_of_step, num_labels = costs.of(mode, facts)
        wanted = _label_steps(mode, facts) * time_of_step
        shares[stage] = min(wanted, max_share * for_steps / len(on_labels))
        least = LEAST_FINETUNE_EPOCHS * num_labels / costs.sizes[mode] * time_of_step
        if mode == "finetune" and shares[stage] < least:
            shares[stage] = 0.0
    rest = max(for_steps - sum(shares.values()), 0.0)
    pretraining = [stage for stage in stages if mode_of(stage) == "pretrain"]
    students = [stage for stage in stages if mode_of(stage) in STUDENTS]
    of_students = DISTILL_SHARE * rest if pretraining else rest
    for stage in students:
        shares[stage] = of_students / len(students)
    for stage in pretraining:
        shares[stage] = (rest - of_students if students else rest) / len(pretraining)
    return shares


def _label_steps(mode, facts):
    """Steps that a training on labels profits from."""
    in_epochs = LABEL_EPOCHS[mode] * facts.num_labels // size_of(facts, mode)
    return max(LABEL_STEPS[mode], in_epochs)
