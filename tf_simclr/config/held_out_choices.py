"""What held-out labels may decide of a training on labels: its candidates. No TensorFlow."""

import dataclasses

CHOSEN = "held_out"
CANDIDATES = "candidates"  # directory in that of a run, with one for each candidate
FEW_LABELS = 300  # fewer are held out several times, since one draw of few says little
NUM_DRAWS = 3


@dataclasses.dataclass(frozen=True)
class HeldOutChoice:
    """Something that held-out labels decide.

    Attributes:
        train_mode: of the trainings that have it.
        flag: which says whether they decide.
        candidates: {name: {flag: value}}; the one that changes the least first.
        subject: what is chosen, in words.
    """

    train_mode: str
    flag: str
    candidates: dict[str, dict]
    subject: str

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags that are decided."""
        return tuple(next(iter(self.candidates.values())))

    def is_open(self, flags: dict) -> bool:
        """Whether the flags {flag name: value} of a training leave it to held-out labels."""
        return flags["train_mode"] == self.train_mode and flags[self.flag] == CHOSEN


FINETUNING = HeldOutChoice(
    train_mode="finetune",
    flag="finetune_choice",
    candidates={
        "frozen encoder": {"ft_proj_selector": 0, "fine_tune_after_block": 4},
        "from the encoder": {"ft_proj_selector": 0, "fine_tune_after_block": -1},
        "from the head's first layer": {"ft_proj_selector": 1, "fine_tune_after_block": -1},
    },
    subject="fine-tuning",
)
LENGTH = HeldOutChoice(
    train_mode="supervised",
    flag="supervised_choice",
    candidates={
        "as many steps as given": {"steps_factor": 1},
        "three times as many": {"steps_factor": 3},
    },
    subject="length",
)
CHOICES = (FINETUNING, LENGTH)


def of_training(flags: dict) -> HeldOutChoice | None:
    """What held-out labels are to decide of a training with these flags {flag name: value}."""
    return next((choice for choice in CHOICES if choice.is_open(flags)), None)


def settled(flags: dict, saved: dict | None) -> dict:
    """{flag: value} of what a run that exists has chosen; empty where nothing was to be chosen.

    Args:
        flags: {flag: value} of a configuration.
        saved: {flag: value} of the run in its directory; None: there is none.
    """
    choice = of_training(flags)
    if choice is None or saved is None or not choice.is_open(saved):
        return {}
    return {name: saved[name] for name in choice.flags if flags[name] != saved[name]}
