"""What a training lacks: that it is not finished, or that its loss is above chance."""

import statistics

from tf_simclr.report.contenders import is_imported
from tf_simclr.report.runs import Run
from tf_simclr.runs.watched_losses import LEARNED, WINDOW, loss_of

TRAIN = "train/"  # prefix of the tags of a training


def notes(run: Run) -> list[str]:
    """The notes on the training of a run; none where nothing is wrong.

    After the best step there are some to come in any training, and the last loss is of other
    weights. Weights from elsewhere were not trained here.
    """
    if run.get("best") or is_imported(run):
        return []
    return [*_unfinished(run), *_above_chance(run)]


def _unfinished(run):
    step, total = run.facts.get("step"), run.facts.get("total_steps")
    if step is None or total is None or step >= total:
        return []
    return [f"{run.name} was evaluated after {step:,} of {total:,} steps of its training."]


def _above_chance(run):
    means = {
        tag.removeprefix(TRAIN): _mean_at_the_end(curve.values)
        for tag, curve in run.curves.items()
        if tag.startswith(TRAIN)
    }
    batch_size = run.get("flags").get("train_batch_size", 1)
    loss = loss_of(means, run.num_classes or 0, batch_size)
    is_known = loss is not None and loss.chance > 0
    if not is_known or loss.value <= loss.chance or loss.times_guessing >= LEARNED:
        return []
    return [
        f"The loss of {run.name} ended above chance ({loss.value:.4g}, chance {loss.chance:.4g})."
    ]


def _mean_at_the_end(values):
    """Over at most the second half of a curve, since a training begins at chance."""
    count = min(WINDOW, (len(values) + 1) // 2)
    return statistics.fmean(values[-count:])
