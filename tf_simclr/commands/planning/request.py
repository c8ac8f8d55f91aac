"""What a command line with --config=auto says."""

import dataclasses
import time

from tf_simclr import config
from tf_simclr.commands.planning import budget
from tf_simclr.config import Config
from tf_simclr.config.plan_section import seconds_of
from tf_simclr.config.stages import mode_of, separate_sections, stage_configs, stage_names


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

    @property
    def given(self) -> dict:
        """{flag, or stage.flag: value} of all that is given."""
        of_stages = {
            f"{stage}.{flag}": value
            for stage, flags in self.stage_flags.items()
            for flag, value in flags.items()
        }
        return {**self.flags, **of_stages}

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages; empty where they are not given."""
        if "train_mode" not in self.flags:
            return ()
        return tuple(stage_names(self.flags["train_mode"]))

    @property
    def batches(self) -> dict[str, int]:
        """{training mode: images a step}, where it is given for all stages of a mode.

        Raises:
            UserError: it is no number of images.
        """
        name = "train_batch_size"
        return {
            stage: config.coerce(name, flags[name])
            for stage, flags in self.stage_flags.items()
            if name in flags and stage == mode_of(stage)
        }

    def seconds_left(self) -> float:
        """Of the budget, without a margin for what can't be foretold."""
        return seconds_of(self.budget) * (1 - budget.MARGIN) - self.elapsed()

    def elapsed(self) -> float:
        """Seconds since the budget began to run."""
        return time.monotonic() - self.began

    def configs(self, values: dict) -> list[Config]:
        """The configurations of a recipe's content under what the command line says."""
        common, sections = separate_sections(values)
        return stage_configs(common, sections, self.flags, self.stage_flags)
