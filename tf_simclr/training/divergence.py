"""A training whose loss, gradient or weights are not finite ends, and says what was not."""

import math

import numpy as np
from absl import logging

from tf_simclr.checkpoints.checkpointer import Checkpointer
from tf_simclr.errors import Diverged
from tf_simclr.objectives.base import Objective
from tf_simclr.training.loss_watch import smaller_rate


def check_metrics(
    metrics: dict[str, float],
    step: int,
    *,
    objective: Objective,
    checkpoints: Checkpointer,
    max_skipped: int,
):
    """Counts a step that was left out since something in it was not finite.

    Args:
        metrics: of the step.
        step: its number.
        objective: what is trained.
        checkpoints: count the steps that were left out.
        max_skipped: how many steps may be left out.

    Raises:
        Diverged: there are more of them than `max_skipped`.
    """
    not_finite = [name for name, value in metrics.items() if not math.isfinite(value)]
    if metrics.get("skipped"):
        not_finite = not_finite or ["the weights after it"]
        num_skipped = int(checkpoints.skipped.assign_add(1))
        if num_skipped <= max_skipped:
            logging.warning(
                "step %d: not finite: %s; the step is left out, %d of at most %d",
                step,
                not_finite[0],
                num_skipped,
                max_skipped,
            )
            return
    if not_finite:
        weights = _weights_not_finite(objective)
        raise _diverged(not_finite, weights, step, objective=objective, checkpoints=checkpoints)


def check_weights(objective: Objective, step: int, checkpoints: Checkpointer):
    """A finite gradient can still make weights that are not.

    Raises:
        Diverged: some are not finite.
    """
    weights = _weights_not_finite(objective)
    if weights:
        raise _diverged([], weights, step, objective=objective, checkpoints=checkpoints)


def _weights_not_finite(objective):
    """The paths of the variables that are not finite, in the order of the forward pass."""
    return [v.path for v in objective.variables if not np.isfinite(v.numpy()).all()]


def _diverged(metrics, weights, step, *, objective, checkpoints):
    """The error to raise, with the names of the metrics and weights that are not finite."""
    texts = [_first_and_count(names) for names in (metrics, weights) if names]
    saved = "there is no good checkpoint yet"
    if checkpoints.last:
        saved = f"the last good checkpoint is {checkpoints.last}"
    rate = smaller_rate(objective.settings.optimizer.learning_rate)
    return Diverged(
        f"step {step}: not finite: {', first of the weights '.join(texts)}; {saved}. "
        f"Try a third of the rate, {rate}, more --warmup_epochs, a higher --temperature, "
        "--precision=float32, or --skip_nonfinite if it is one bad batch"
    )


def _first_and_count(names):
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"
