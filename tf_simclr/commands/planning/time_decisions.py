"""What --config=auto decides by the time alone, after `rules`: network, lengths, evaluations."""

from tf_simclr import config
from tf_simclr.commands.planning.budget import (
    FEW_EVALUATIONS,
    LEAST_EPOCHS,
    MAX_FITTED,
    Pace,
    StagePlan,
)
from tf_simclr.commands.planning.facts import Facts
from tf_simclr.commands.planning.networks import Candidate
from tf_simclr.commands.planning.rules import Decision
from tf_simclr.config.held_out_choices import CHOICES, CHOSEN, FINETUNING
from tf_simclr.config.stages import mode_of

SECONDS_BETWEEN_CHECKPOINTS = 120
SLOW_RATE = 0.0005  # a tenth of that of the rules: a head that starts as a probe stays near it
SHORT_EPOCHS = 20  # of pretraining, of which the warm-up of the rules is a large part
WARMUP_SHARE = 0.1  # of a short training


def decide(
    candidate: Candidate,
    plans: dict[str, StagePlan],
    facts: Facts,
    *,
    pace: Pace,
    eval_split: str,
    given: dict,
) -> list[Decision]:
    """Network, split and lengths, and what else a short time leads to.

    Args:
        candidate: the network.
        plans: {stage: its length}.
        facts: of the images.
        pace: of the network.
        eval_split: to evaluate on.
        given: {flag name: value} of the command line.
    """
    flags = dict(candidate.flags)
    if eval_split != config.fields()["eval_split"].default:
        flags["eval_split"] = eval_split
    reason = f"the largest that learns enough in the time ({pace.step:.3g} s a step)"
    lengths = {"train_mode": ",".join(plans)} if "train_mode" not in given else {}
    for stage, plan in plans.items():
        every = max(round(plan.steps * SECONDS_BETWEEN_CHECKPOINTS / max(plan.seconds, 1)), 1)
        lengths[f"{stage}.train_steps"] = plan.steps
        lengths[f"{stage}.checkpoint_steps"] = min(every, plan.steps)
        if mode_of(stage) == "pretrain" and plan.epochs < SHORT_EPOCHS:
            lengths[f"{stage}.warmup_epochs"] = round(WARMUP_SHARE * plan.epochs, 3)
    choices = _held_out_choices(plans)
    frozen = _frozen_encoders(plans)
    evaluations = {}
    if any(plan.is_brief for plan in plans.values()):
        evaluations = {"evaluations": list(FEW_EVALUATIONS)}
        if facts.num_labels > MAX_FITTED[True]:
            evaluations["knn_examples"] = MAX_FITTED[True]
    reason_of_choice = "the best of some trainings on held-out labels, for which there is time"
    decisions = [
        Decision("network", f"{candidate}: {reason}", flags),
        Decision("held-out labels", reason_of_choice, choices),
        Decision("fine-tuning", "too short to see each label: the encoder stays", frozen),
        Decision("lengths", "what fits into the time", lengths),
        Decision("evaluations", "all of them would take too much of the time", evaluations),
    ]
    return [decision for decision in decisions if decision.flags]


def _frozen_encoders(plans):
    """{stage.flag: value} of fine-tunings that would only begin to change the encoder.

    Measured with 18,000 labels of five classes, one of them rare: 61 steps of 64 give 34% from the
    head's first layer and 60.6% with a frozen encoder, whose features have a probe of 62%; 14 steps
    38.7% with a frozen encoder and a probe of 56.6%, so the rate is lower, too.
    """
    flags = {**FINETUNING.candidates["frozen encoder"], "learning_rate": SLOW_RATE}
    frozen = {}
    for stage, plan in plans.items():
        is_short = plan.epochs < LEAST_EPOCHS and not plan.chooses
        if mode_of(stage) == "finetune" and is_short:
            frozen |= {f"{stage}.{name}": value for name, value in flags.items()}
    return frozen


def _held_out_choices(plans):
    """{stage.flag: value} that leave to held-out labels what there is time for."""
    flags = {choice.train_mode: choice.flag for choice in CHOICES}
    return {
        f"{stage}.{flags[mode_of(stage)]}": CHOSEN for stage, plan in plans.items() if plan.chooses
    }
