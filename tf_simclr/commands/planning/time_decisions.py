"""What --config=auto decides by the time alone, after `rules`: network, lengths, evaluations."""

from tf_simclr import config
from tf_simclr.commands.planning.budget import StagePlan
from tf_simclr.commands.planning.costs import (
    FEW_EVALUATIONS,
    FEW_WITHOUT_LABELS,
    MAX_FITTED,
    Pace,
)
from tf_simclr.commands.planning.facts import Facts
from tf_simclr.commands.planning.networks import Candidate
from tf_simclr.commands.planning.rule import Decision
from tf_simclr.config.held_out_choices import CHOICES, CHOSEN, FINETUNING
from tf_simclr.config.stages import mode_of

SECONDS_BETWEEN_CHECKPOINTS = 120
SHORT_EPOCHS = 20  # of pretraining, of which the warm-up of the rules is a large part
WARMUP_SHARE = 0.1  # of a short training
REASON_OF_START = (
    "no time to see each label often: the encoder stays as it is, and the linear head is logistic "
    "regression on its features"
)
REASON_OF_CHOICE = "the best of some trainings on held-out labels, for which there is time"
REASON_OF_EVALUATIONS = "all of them would take too much of the time"
LENGTH_FLAGS = ("train_steps", "train_epochs")


def decide(
    candidate: Candidate,
    plans: dict[str, StagePlan],
    facts: Facts,
    *,
    left_out: list[str],
    pace: Pace,
    eval_split: str,
    given: dict,
) -> list[Decision]:
    """Network, split and lengths, and what else a short time leads to.

    Args:
        candidate: the network.
        plans: {stage: its length}.
        facts: of the images.
        left_out: names of stages for which there is no time.
        pace: of the network.
        eval_split: to evaluate on.
        given: {flag, or stage.flag: value} of the command line.
    """
    flags = dict(candidate.flags)
    if eval_split != config.fields()["eval_split"].default:
        flags["eval_split"] = eval_split
    reason = f"the largest that learns enough in the time ({pace.step:.3g} s a step)"
    reason_of_lengths = "what fits into the time"
    if left_out:
        names = ", ".join(left_out)
        reason_of_lengths += f"; left out, as not each image would be seen once: {names}"
    decisions = [
        Decision("network", f"{candidate}: {reason}", flags),
        Decision("held-out labels", REASON_OF_CHOICE, _held_out_choices(plans)),
        Decision("fine-tuning", REASON_OF_START, _starts(plans, given)),
        Decision("lengths", reason_of_lengths, _lengths(plans, given)),
        Decision("evaluations", REASON_OF_EVALUATIONS, _evaluations(plans, facts)),
    ]
    return [decision for decision in decisions if decision.flags]


def _lengths(plans, given):
    """{train_mode, or stage.flag: value} of how long the stages are."""
    lengths = {"train_mode": ",".join(plans)} if "train_mode" not in given else {}
    for stage, plan in plans.items():
        every = max(round(plan.steps * SECONDS_BETWEEN_CHECKPOINTS / max(plan.seconds, 1)), 1)
        lengths[f"{stage}.train_steps"] = plan.steps
        lengths[f"{stage}.checkpoint_steps"] = min(every, plan.steps)
        if mode_of(stage) == "pretrain" and plan.epochs < SHORT_EPOCHS:
            lengths[f"{stage}.warmup_epochs"] = round(WARMUP_SHARE * plan.epochs, 3)
    return lengths


def _evaluations(plans, facts):
    """{flag: value} of fewer evaluations, where all would take too much of the time."""
    if not any(plan.is_brief for plan in plans.values()):
        return {}
    few = FEW_EVALUATIONS if facts.num_labels else FEW_WITHOUT_LABELS
    evaluations = {"evaluations": list(few)}
    if facts.num_labels > MAX_FITTED[True]:
        evaluations["knn_examples"] = MAX_FITTED[True]
    return evaluations


def _starts(plans, given):
    """{stage.flag: value} of fine-tunings that would only begin to change the encoder.

    What they would begin is worse than their start, logistic regression on the features. Measured
    with 18,000 labels of six classes, one of them rare, in steps of 64:

        61 steps from the head's first layer 34%, 373 steps 53.1%: the start 54.5%
        493 steps from the head's first layer 52.9%: the start 57.9%
        69 steps with a frozen encoder and a tenth of the rate 35.0%: the start 50.7%
    """
    flags = {**FINETUNING.candidates["frozen encoder"], "learning_rate": 0}
    starts = {}
    for stage, plan in plans.items():
        if plan.is_start and not _has_given_length(stage, given):
            starts |= {f"{stage}.{name}": value for name, value in flags.items()}
    return starts


def _has_given_length(stage, given):
    scopes = ("", f"{stage}.", f"{mode_of(stage)}.")
    return any(f"{scope}{flag}" in given for scope in scopes for flag in LENGTH_FLAGS)


def _held_out_choices(plans):
    """{stage.flag: value} that leave to held-out labels what there is time for."""
    flags = {choice.train_mode: choice.flag for choice in CHOICES}
    return {
        f"{stage}.{flags[mode_of(stage)]}": CHOSEN for stage, plan in plans.items() if plan.chooses
    }
