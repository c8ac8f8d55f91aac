"""What a command line with --config=auto says."""

import dataclasses
import time

from tf_simclr import config
from tf_simclr.commands.planning import budget
from tf_simclr.config import Config
from tf_simclr.config.plan_section import seconds_of
from tf_simclr.config.stages import separate_sections, stage_configs


@dataclasses.dataclass(frozen=True)
class Request:
    """What a command line says.

    Attributes:
        flags: {flag name: value} for all stages.
        stage_flags: {stage: {flag name: value}}.
        began: when the budget began to run, as of `time.monotonic`.
    """

    flags: dict
    stage_flags: dict
    began: float

    @property
    def budget(self) -> str:
        """The budget in words."""
        return str(self.flags.get("budget", config.fields()["budget"].default))

    def seconds_left(self) -> float:
        """Of the budget, without a margin for what can't be foretold."""
        elapsed = time.monotonic() - self.began
        return seconds_of(self.budget) * (1 - budget.MARGIN) - elapsed

    def configs(self, values: dict) -> list[Config]:
        """The configurations of a recipe's content under what the command line says."""
        common, sections = separate_sections(values)
        return stage_configs(common, sections, self.flags, self.stage_flags)
