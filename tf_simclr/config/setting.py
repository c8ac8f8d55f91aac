"""How a flag is declared."""

import dataclasses

from tf_simclr.config.values import MAX_INT32


def setting(
    default,
    help: str,
    *,
    choices: tuple | None = None,
    low: float | None = None,
    high: float | None = None,
    fixed: bool = True,
    before=None,
):
    """A dataclass field that is a flag.

    Args:
        default: its value where none is given.
        help: what it means, for --help and docs/flags.md.
        choices: the only values that are accepted; None: any in the range.
        low: the least number that is accepted.
        high: the greatest number that is accepted.
        fixed: whether it is part of what a run directory is, so that it can't change between two
            starts in the same directory.
        before: what a run has that was saved before the flag existed; None: the default.
    """
    if type(default) is int and choices is None and high is None:
        high = MAX_INT32
    metadata = {
        "help": help,
        "choices": choices,
        "low": low,
        "high": high,
        "fixed": fixed,
        "before": default if before is None else before,
    }
    return dataclasses.field(default=default, metadata=metadata)
