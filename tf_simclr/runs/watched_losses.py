"""The losses that say whether a training learns anything, and what they are at chance."""

import dataclasses
import math

WINDOW = 20  # losses whose mean is judged; of single batches they go up and down
# Times as many right answers as by guessing, from which on something is learned whatever the loss
# is: answers that are too sure of themselves cost more than a guess.
LEARNED = 2
EVEN_GUESS = "ln(number of classes)"


@dataclasses.dataclass(frozen=True)
class WatchedLoss:
    """Metrics of a step that say whether anything is learned.

    Attributes:
        name: of the loss.
        chance: of its chance level; "": not known.
        accuracy: of the share of right answers; "": not known.
        is_among_batch: whether the right answer is one of as many as the batch has images; else a
            guess is as often right as `chance` says.
    """

    name: str
    chance: str = ""
    accuracy: str = ""
    is_among_batch: bool = False


# The first one that a step has. A linear head that learns beside a pretraining has a loss of its
# own, which comes last.
LOSSES = (
    WatchedLoss("contrast_loss", "contrast_chance", "contrast_acc", is_among_batch=True),
    WatchedLoss("pretext_loss", "pretext_chance", "pretext_acc"),
    WatchedLoss("distill_loss"),
    WatchedLoss("supervised_loss", EVEN_GUESS),
)


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss, of a step or in the mean over some.

    Attributes:
        name: of the metric.
        value: of the loss.
        chance: what a trivial answer costs; 0: not known.
        times_guessing: right answers by those of a guess; 0: not known.
    """

    name: str
    value: float
    chance: float
    times_guessing: float


def loss_of(metrics: dict[str, float], num_classes: int, batch_size: int) -> Loss | None:
    """The loss of a step that is watched; None where there is no finite one.

    Args:
        metrics: of the step.
        num_classes: of the labels.
        batch_size: images of a batch.
    """
    for watched in LOSSES:
        if watched.name in metrics:
            value, chance = metrics[watched.name], metrics.get(watched.chance, 0.0)
            if watched.chance == EVEN_GUESS:
                chance = math.log(max(num_classes, 1))
            if not (math.isfinite(value) and math.isfinite(chance)):
                return None
            times_guessing = 0.0
            if watched.accuracy in metrics:
                by_guessing = 1 / batch_size if watched.is_among_batch else math.exp(-chance)
                times_guessing = metrics[watched.accuracy] / by_guessing
            return Loss(watched.name, value, chance, times_guessing)
    return None
