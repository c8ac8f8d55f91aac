"""Where the table is that --labels names. No TensorFlow."""

import os
import re

from tf_simclr.config.values import directory_of, folders_of

NO_LABELS = "none"  # a value of --labels
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
    return next(iter(find_all(name, folders)), None)


def find_all(name: str, folders: list[str]) -> list[str]:
    """The paths of all tables of a name, each file once; the first one is taken, see `find`."""
    paths = []
    for path in (*(os.path.join(folder, name) for folder in folders), name):
        if not os.path.isfile(path):
            continue
        if not any(os.path.samefile(path, other) for other in paths):
            paths.append(path)
    return paths


def same_table(first: str, second: str, dataset: str) -> bool:
    """Whether two values of --labels name one table, and the same columns or none.

    Args:
        first: a value.
        second: another one.
        dataset: of the images.
    """
    if first == second:
        return True
    folders = [directory_of(folder) for folder in folders_of(dataset)]
    first_name, first_columns = separate_columns(first)
    second_name, second_columns = separate_columns(second)
    first_path, second_path = find(first_name, folders), find(second_name, folders)
    if first_path is None or second_path is None or first_columns != second_columns:
        return False
    return os.path.samefile(first_path, second_path)
