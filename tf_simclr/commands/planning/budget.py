"""A budget of time divided among the stages of a chain; which network it is enough for."""

import dataclasses
from collections.abc import Callable, Sequence

from tf_simclr import config
from tf_simclr.commands.planning.facts import Facts
from tf_simclr.commands.planning.networks import Candidate
from tf_simclr.commands.planning.rules import is_mostly_unlabeled, label_batch_size
from tf_simclr.config.held_out_choices import CHOICES, FEW_LABELS, NUM_DRAWS
from tf_simclr.config.stages import mode_of

MAX_TRIALS = 3
FORWARD_SHARE = 1 / 3  # of a training step; the gradient takes the rest
# Views of an image that go through a training step; a teacher is a forward pass. Small batches of
# labels take longer than their share of a large one (measured: 1.3 times).
VIEWS = {
    "pretrain": 2,
    "supervised": 1.3,
    "finetune": 1.3,
    "semi": 2,
    "distill": 1 + FORWARD_SHARE,
}
MARGIN = 0.06  # of the budget, for what can't be foretold
# What a stage takes besides its steps and the features of images, in times of the first step of a
# trial, which is mostly tracing: to start, to export and to write the report ...
OVERHEAD = 5.0
# ... and for the metrics and the map of MAX_MAPPED images, with all evaluations and with few.
METRICS = {False: 3.2, True: 1.2}
MAX_MAPPED = 1000
FITTED = 0.3  # ... and for the probes, of each thousand labels that they are fitted to
MAX_COMPARED = 1500  # images that are embedded once more, for what is unlike them and as views
LEAST_OVERHEAD = 8.0  # seconds
FEW_EVALUATIONS = ("classifier", "probe", "few_labels", "knn")
# Labels that probes and k-NN are fitted to, with all evaluations and with few.
MAX_FITTED = {False: config.fields()["knn_examples"].default, True: 5000}
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
ENOUGH_EPOCHS = 60  # of pretraining, for a larger network to pay
ENOUGH_STEPS = 2500  # of pretraining, whatever the epochs
LEAST_EPOCHS = 1  # in which each image is seen
LEAST_FINETUNE_EPOCHS = 3  # of the labels; a shorter fine-tuning may end below its start


@dataclasses.dataclass(frozen=True)
class Pace:
    """How fast a network is trained.

    Attributes:
        first_step: seconds of the work of the first step, which is traced.
        step: seconds of each further step of pretraining.
    """

    first_step: float
    step: float

    def scaled(self, factor: float) -> "Pace":
        """The pace where a step has `factor` times the work."""
        return dataclasses.replace(self, step=self.step * factor)


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """A stage in numbers.

    Attributes:
        steps: of its training.
        epochs: the same in epochs of its images.
        seconds: all that it takes, its evaluation and export included.
        chooses: whether there is time for what held-out labels can choose of it.
        is_brief: whether all evaluations would take too large a part of the time.
    """

    steps: int
    epochs: float
    seconds: float
    chooses: bool = False
    is_brief: bool = False


def divide(
    facts: Facts,
    stages: Sequence[str],
    batch_size: int,
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
        batch_size: images a step of pretraining and distillation.
        pace: of pretraining at this batch size.
        seconds: that all stages may take together.
        may_shorten: whether `LEFT_OUT` holds.
    """
    costs = _costs(facts, batch_size, pace, is_brief=False)
    if costs.of_all(stages) > MAX_OVERHEAD_SHARE * seconds:
        costs = _costs(facts, batch_size, pace, is_brief=True)
    starts = sum(costs.start(mode_of(stage), facts) for stage in stages)
    for_steps = max(seconds - costs.of_all(stages) - starts, 0.0)
    choices = _seconds_of_choices(facts, stages, costs, pace, MAX_CHOICE_SHARE * for_steps)
    shares = _shares(facts, stages, costs, for_steps - sum(choices.values()))
    plans = {stage: _plan(mode_of(stage), shares[stage], costs, facts) for stage in stages}
    first = plans[stages[0]]
    plans[stages[0]] = dataclasses.replace(first, seconds=first.seconds + costs.baseline)
    for stage, seconds_of_choice in choices.items():
        plans[stage] = dataclasses.replace(
            plans[stage], seconds=plans[stage].seconds + seconds_of_choice, chooses=True
        )
    rest = _long_enough(plans) if may_shorten else list(plans)
    if len(rest) < len(plans):
        return divide(facts, rest, batch_size, pace, seconds, may_shorten)
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


def _plan(mode, share, costs, facts):
    """The plan of a stage whose steps may take `share` seconds."""
    time_of_step, num_images = costs.of(mode, facts)
    steps = max(int(share / time_of_step), 1)
    epochs = steps * costs.sizes[mode] / num_images
    seconds = steps * time_of_step + costs.overhead + costs.start(mode, facts)
    return StagePlan(steps, epochs, seconds, is_brief=costs.is_brief)


@dataclasses.dataclass(frozen=True)
class _Costs:
    """What things take.

    Attributes:
        is_brief: whether few evaluations are made.
        overhead: seconds of a stage besides its steps.
        baseline: seconds of the untrained network, whose results later stages take from the first.
        view: seconds that a view of an image takes in training.
        sizes: {training mode: images a step}.
    """

    is_brief: bool
    overhead: float
    baseline: float
    view: float
    sizes: dict[str, int]

    def of_all(self, stages):
        """Seconds of some stages besides their steps and starts."""
        return self.overhead * len(stages) + self.baseline

    def of(self, mode, facts):
        """(seconds a step, images an epoch) of a training mode."""
        is_on_labels = mode in LABEL_STEPS
        num_images = facts.num_labels if is_on_labels else facts.num_images
        return self.view * VIEWS[mode] * self.sizes[mode], max(num_images, 1)

    def start(self, mode, facts):
        """Seconds before the first step: the features that a linear head starts on."""
        return facts.num_labels * self.view * FORWARD_SHARE if mode == "finetune" else 0.0


def _costs(facts, batch_size, pace, is_brief):
    label_batch = label_batch_size(facts)
    sizes = {mode: label_batch if mode in LABEL_STEPS else batch_size for mode in VIEWS}
    view = pace.step / (VIEWS["pretrain"] * batch_size)
    num_fitted = min(facts.num_labels, MAX_FITTED[is_brief])
    forward = view * FORWARD_SHARE
    baseline = (num_fitted + facts.num_evaluated) * forward
    features = baseline + min(facts.num_images, MAX_COMPARED) * forward
    metrics = METRICS[is_brief] * min(facts.num_evaluated, MAX_MAPPED) / MAX_MAPPED
    metrics += FITTED * num_fitted / 1000
    overhead = max((OVERHEAD + metrics) * pace.first_step, LEAST_OVERHEAD)
    return _Costs(is_brief, overhead + features, baseline, view, sizes)


def overhead(facts: Facts, stages: Sequence[str], batch_size: int, pace: Pace) -> float:
    """Seconds that stages take at least, besides their steps."""
    costs = _costs(facts, batch_size, pace, is_brief=True)
    return costs.of_all(stages) + sum(costs.start(mode_of(stage), facts) for stage in stages)


def _seconds_of_choices(facts, stages, costs, pace, most):
    """{stage: seconds of what held-out labels choose of it}, where they are not more than `most`.

    The last stages come first: they are what is used in the end.
    """
    if facts.num_labels < FEWEST_LABELS_OF_CHOICE:
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


def _shares(facts, stages, costs, for_steps):
    """{stage: seconds of its steps}."""
    shares = {}
    on_labels = [stage for stage in stages if mode_of(stage) in LABEL_STEPS]
    max_share = MAX_LABEL_SHARE[is_mostly_unlabeled(facts)]
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
    in_epochs = LABEL_EPOCHS[mode] * facts.num_labels // label_batch_size(facts)
    return max(LABEL_STEPS[mode], in_epochs)


def is_enough(plan: StagePlan) -> bool:
    """Whether a network is pretrained for long enough that it is not too large for the time."""
    return plan.epochs >= ENOUGH_EPOCHS or plan.steps >= ENOUGH_STEPS


def choose(
    candidates: Sequence[Candidate],
    work_of: Callable[[Candidate], float],
    measure: Callable[[Candidate], Pace],
    suits: Callable[[Candidate, Pace], bool],
) -> tuple[Candidate, dict[Candidate, Pace]]:
    """Chooses the largest network that the time is enough for, by the pace of a few.

    The smallest is timed first; then the largest that suits by what is known so far, until that one
    is timed itself.

    Args:
        candidates: the one with the least work first.
        work_of: the work of a step of a candidate.
        measure: times a candidate.
        suits: whether the time is enough for a candidate at a pace.

    Returns:
        (what is chosen, the paces that were measured).
    """
    paces = {candidates[0]: measure(candidates[0])}
    while True:
        best = candidates[0]
        for candidate in candidates:
            if suits(candidate, _pace_of(candidate, paces, work_of)):
                best = candidate
        if best in paces:
            return best, paces
        if len(paces) == MAX_TRIALS:
            suiting = [candidate for candidate in paces if suits(candidate, paces[candidate])]
            return max(suiting or [candidates[0]], key=work_of), paces
        paces[best] = measure(best)


def _pace_of(candidate, paces, work_of):
    """As it was measured, or else by that of the candidate that is nearest in its work."""
    if candidate in paces:
        return paces[candidate]
    work = work_of(candidate)
    nearest = min(paces, key=lambda timed: max(work_of(timed) / work, work / work_of(timed)))
    return paces[nearest].scaled(work / work_of(nearest))
