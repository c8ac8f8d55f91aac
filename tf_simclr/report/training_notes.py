"""What a training lacks: that it is not finished, or has hardly learned its task."""

from tf_simclr.report.runs import Run

CHANCES = {  # {tag of a loss: tag of what it is at chance}
    "train/contrast_loss": "train/contrast_chance",
    "train/pretext_loss": "train/pretext_chance",
}


def notes(run: Run) -> list[str]:
    """The notes on the training of a run; none where nothing is wrong."""
    return [*_unfinished(run), *_above_chance(run)]


def _unfinished(run):
    """That there are steps to come; after the best step there are some in any training."""
    step, total = run.facts.get("step"), run.facts.get("total_steps")
    if run.get("best") or step is None or total is None or step >= total:
        return []
    return [f"{run.name} was evaluated after {step:,} of {total:,} steps of its training."]


def _above_chance(run):
    sentences = []
    for tag, chance_tag in CHANCES.items():
        if tag not in run.curves or chance_tag not in run.curves:
            continue
        loss, chance = run.curves[tag].values[-1], run.curves[chance_tag].values[-1]
        if loss > chance:
            sentences.append(
                f"The loss of {run.name} ended above chance ({loss:.4g}, chance {chance:.4g}): it "
                "has hardly learned its task."
            )
    return sentences
