"""The settings of a plan: how long everything may take. No TensorFlow."""

import dataclasses
import re

from tf_simclr.config.setting import setting

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
BUDGET = re.compile(r"(\d+(?:\.\d+)?[smhd])+")
MIN_BUDGET = 60  # seconds


@dataclasses.dataclass(frozen=True)
class PlanConfig:
    """What --config=auto plans with."""

    budget: str = setting(
        "30m",
        "with --config=auto: how long everything may take, from the first image to the last "
        "export, such as 90s, 30m, 2h, 1h30m or 1d",
        fixed=False,
    )
    plan: bool = setting(False, "print the plan of a training, and stop", fixed=False)


def seconds_of(budget: str) -> float:
    """The seconds of a time such as 1h30m.

    Raises:
        ValueError: it is none.
    """
    text = budget.strip().lower()
    if not BUDGET.fullmatch(text):
        raise ValueError(budget)
    parts = re.findall(r"([\d.]+)([smhd])", text)
    return sum(float(number) * SECONDS[unit] for number, unit in parts)


def text_of(seconds: float) -> str:
    """A time as people write it: 0:45, 12:30, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}"
