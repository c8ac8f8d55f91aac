"""What a rule of planned recipes is, and what it decides."""

import dataclasses
from collections.abc import Callable

from tf_simclr.commands.planning.facts import Facts


@dataclasses.dataclass(frozen=True)
class Rule:
    """What follows from the images and labels.

    Attributes:
        title: what is decided, for the plan.
        condition: when it applies, in words.
        applies: a function of the facts.
        flags: a function of the facts -> {flag, or stage.flag: value}; later rows override.
        reason: a function of the facts -> why, in words.
        measured: what the row was decided by.
        of_mode: a training mode without which it does not hold; "": it always holds.
        unless: flags, or stage.flag, of a command line for which it does not hold.
    """

    title: str
    condition: str
    applies: Callable[[Facts], bool]
    flags: Callable[[Facts], dict]
    reason: Callable[[Facts], str]
    measured: str
    of_mode: str = ""
    unless: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Decision:
    """What a rule has decided.

    Attributes:
        title: what is decided.
        reason: why.
        flags: {flag, or stage.flag: value}.
    """

    title: str
    reason: str
    flags: dict
