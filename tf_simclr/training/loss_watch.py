"""What a loss says of a training while it runs: that nothing is learned, or that it diverges.

Each is said once, in a line with the way out.
"""

import collections
import statistics

from absl import logging

from tf_simclr.config import Config
from tf_simclr.runs.watched_losses import LEARNED, WINDOW, Loss, loss_of

SHARE = 10  # the loss has to be below chance after this part of the training
AT_CHANCE = 0.99  # of chance, from which on nothing is learned
FAR_ABOVE = 1.5  # times the larger one of start and chance


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
        self._batch_size = settings.train.train_batch_size
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
        loss = loss_of(metrics, self._num_classes, self._batch_size)
        if loss is None:
            return
        self._recent.append(loss)
        if len(self._recent) < WINDOW:
            return
        mean = _mean(self._recent)
        self._start = self._start or mean.value
        if step >= self._first_judged and not self._is_judged:
            self._is_judged = True
            self._judge_chance(step, mean)
        self._judge_growth(step, mean)

    def _judge_chance(self, step, mean):
        is_below = not mean.chance or mean.value < AT_CHANCE * mean.chance
        if is_below or mean.times_guessing >= LEARNED:
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


def _mean(losses):
    """The mean of losses of one name."""
    columns = zip(*((loss.value, loss.chance, loss.times_guessing) for loss in losses))
    return Loss(losses[0].name, *map(statistics.fmean, columns))


def smaller_rate(learning_rate: float) -> str:
    """The flag of a third of a learning rate."""
    return f"--learning_rate={learning_rate / 3:.2g}"
