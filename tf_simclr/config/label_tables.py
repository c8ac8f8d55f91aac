"""Where the table is that --labels names. No TensorFlow."""

import os
import re

SUFFIXES = (".csv", ".tsv")
COLUMN_OPTIONS = re.compile(r"(.+?):((?:file|label|split)=.+)")


def separate_columns(value: str) -> tuple[str, str]:
    """(name of the table, its columns as text) of a value of --labels."""
    match = COLUMN_OPTIONS.fullmatch(value)
    return match.groups() if match else (value, "")


def find(name: str, folders: list[str]) -> str | None:
    """The path of a table beside images or in the working directory; None: there is none.

    Args:
        name: of the table.
        folders: of the images.
    """
    candidates = [os.path.join(folder, name) for folder in folders] + [name]
    return next((path for path in candidates if os.path.isfile(path)), None)
