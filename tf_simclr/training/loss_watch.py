"""What a loss says of a training while it runs: that nothing is learned, or that it diverges.

Each is said once, in a line with the way out.
"""

import collections
import dataclasses
import math
import statistics

from absl import logging

from tf_simclr.config import Config

WINDOW = 20  # steps whose mean loss is judged; of single batches it goes up and down
SHARE = 10  # the loss has to be below chance after this part of the training
AT_CHANCE = 0.99  # of chance, from which on nothing is learned
FAR_ABOVE = 1.5  # times the larger one of start and chance


EVEN_GUESS = "ln(number of classes)"
# {loss: metric of its chance level}, the first one that a step has. A linear head that learns
# beside a pretraining has a loss of its own, which comes last.
LOSSES = {
    "contrast_loss": "contrast_chance",
    "pretext_loss": "pretext_chance",
    "distill_loss": None,
    "supervised_loss": EVEN_GUESS,
}


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss, of a step or in the mean over some.

    Attributes:
        name: of the metric.
        value: of the loss.
        chance: what a trivial answer costs; 0: not known.
    """

    name: str
    value: float
    chance: float


def loss_of(metrics: dict[str, float], num_classes: int) -> Loss | None:
    """The loss of a step that is watched; None where there is no finite one.

    Args:
        metrics: of the step.
        num_classes: of the labels.
    """
    for name, chance_name in LOSSES.items():
        if name in metrics:
            chance = metrics.get(chance_name, 0.0)
            if chance_name == EVEN_GUESS:
                chance = math.log(max(num_classes, 1))
            is_finite = math.isfinite(metrics[name]) and math.isfinite(chance)
            return Loss(name, metrics[name], chance) if is_finite else None
    return None


class LossWatch:
    """Judges the loss of each step, and says once what is wrong.

    Args:
        settings: the whole configuration.
        num_steps: of the whole training.
        warmup: steps until the learning rate is at its peak.
        num_classes: of the labels.
    """

    def __init__(self, settings: Config, *, num_steps: int, warmup: int, num_classes: int):
        self._learning_rate = settings.optimizer.learning_rate
        self._num_steps = num_steps
        self._num_classes = num_classes
        self._first_judged = max(num_steps / SHARE, min(warmup, num_steps / 2))
        self._recent = collections.deque(maxlen=WINDOW)
        self._start = None  # the mean of the first window
        self._is_judged = False  # by chance
        self._said = set()

    def after(self, step: int, metrics: dict[str, float], warning: str | None = None):
        """To be called after each step.

        Args:
            step: the number of the step, from 1.
            metrics: of the step.
            warning: what the objective says of them, or None.
        """
        # Embeddings of random weights can be as much alike as collapsed ones.
        if warning is not None and step >= self._first_judged:
            self._say("objective", step, warning)
        loss = loss_of(metrics, self._num_classes)
        if loss is None:
            return
        self._recent.append(loss)
        if len(self._recent) < WINDOW:
            return
        value = statistics.fmean(recent.value for recent in self._recent)
        chance = statistics.fmean(recent.chance for recent in self._recent)
        mean = Loss(loss.name, value, chance)
        self._start = self._start or value
        if step >= self._first_judged and not self._is_judged:
            self._is_judged = True
            self._judge_chance(step, mean)
        self._judge_growth(step, mean)

    def _judge_chance(self, step, mean):
        if not mean.chance or mean.value < AT_CHANCE * mean.chance:
            return
        self._say(
            "chance",
            step,
            f"nothing is learned so far, with {step / self._num_steps:.0%} of the training done: "
            f"{mean.name} is {mean.value:.3f} over {WINDOW} steps, chance {mean.chance:.3f}; try "
            f"{smaller_rate(self._learning_rate)} or ten times that in a new --model_dir, and "
            "look at the images in TensorBoard",
        )

    def _judge_growth(self, step, mean):
        usual = max(self._start, mean.chance)
        if usual <= 0 or mean.value < FAR_ABOVE * usual:
            return
        self._say(
            "growth",
            step,
            f"the training diverges: {mean.name} is {mean.value:.3f} over {WINDOW} steps, and "
            f"{usual:.3f} at the start or by chance; stop it, and try "
            f"{smaller_rate(self._learning_rate)} in a new --model_dir",
        )

    def _say(self, subject, step, line):
        if subject not in self._said:
            self._said.add(subject)
            logging.warning("step %d: %s", step, line)


def smaller_rate(learning_rate: float) -> str:
    """The flag of a third of a learning rate."""
    return f"--learning_rate={learning_rate / 3:.2g}"
