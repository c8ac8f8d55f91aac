"""Which columns of a table have the images, the classes and the splits, see `label_file`."""

import dataclasses
import os
import re
from collections.abc import Callable

from tf_simclr.errors import UserError, did_you_mean

# Usual names of columns, in lower case without spaces, _ and -. Of several labels or splits the
# first that there is counts; of several files the one by which most images are found.
COLUMN_NAMES = {
    "file": (
        *("file", "filename", "filepath", "path", "image", "imagefile", "imagename", "imagepath"),
        *("img", "imgpath", "imgname", "photo", "picture", "name", "uuid", "imageid", "id"),
    ),
    "label": (
        *("label", "labels", "class", "classname", "classid", "labelname", "category", "species"),
        *("target", "breed", "diagnosis", "tag", "annotation", "y"),
    ),
    "split": ("split", "set", "subset", "partition"),
}
SYNTAX = "--labels=FILE:file=COLUMN,label=COLUMN"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table as it was read.

    Attributes:
        flag: how it was named, for messages.
        path: of the file.
        header: names of the columns; empty: it has none.
        lines: the cells of each line.
        too_wide: those of lines that have more cells than the others, and can't be trusted.
    """

    flag: str
    path: str
    header: tuple[str, ...]
    lines: list[list[str]]
    too_wide: list[list[str]]


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of a table that are read.

    Attributes:
        numbers: {"file", "label" and perhaps "split": number of the column}.
        chosen: the same in words, as in SYNTAX; empty: none was chosen among several.
    """

    numbers: dict[str, int]
    chosen: str = ""


def has_usual_names(cells: list[str]) -> bool:
    """Whether the cells of a line have usual names for the image and for the class."""
    keys = {_key(cell) for cell in cells}
    return all(keys.intersection(COLUMN_NAMES[role]) for role in ("file", "label"))


def choose(
    table: Table, named_columns: dict[str, str], resolve: Callable[[str], str | None]
) -> Columns:
    """The columns that are named, else those with usual names.

    Args:
        table: that has them.
        named_columns: {"file", "label" or "split": name of the column}.
        resolve: a function of a cell -> the image that it means, or None.

    Raises:
        UserError: a column is not there, or not recognized.
    """
    if not table.header:
        return Columns({"file": 0, "label": 1})
    numbers, is_choice = {}, False
    for role in COLUMN_NAMES:
        if role in named_columns:
            numbers[role] = _named_column(table, role, named_columns[role])
            continue
        free = [column for column in _usual(table, role) if column not in numbers.values()]
        if role == "file" and len(free) > 1:
            numbers[role] = _column_of_files(table, free, resolve)
        elif free:
            numbers[role] = free[0]
        if role in numbers:
            is_choice |= len(free) > 1
    missing = [role for role in ("file", "label") if role not in numbers]
    if missing:
        raise UserError(
            f"{table.flag}: which column has the {missing[0]} is not known of "
            f"{', '.join(table.header)}; say it as {SYNTAX}"
        )
    names = [f"{role}={table.header[number]}" for role, number in numbers.items()]
    return Columns(numbers, ",".join(names) if is_choice else "")


def cell_of(cells: list[str], column: int | None) -> str:
    """A cell of a line; empty where the line or the table lacks it."""
    return cells[column] if column is not None and column < len(cells) else ""


def _key(name):
    return re.sub(r"[\s_-]", "", name.lower())


def _usual(table, role):
    """The columns with usual names for a role, the most usual one first."""
    keys = [_key(name) for name in table.header]
    return [keys.index(name) for name in COLUMN_NAMES[role] if name in keys]


def _column_of_files(table, columns, resolve):
    """The column by which most images are found, the most usual one of equals.

    Names with an ending come first: a number of the row may be the name of another row's image.
    """

    def num_images(column):
        cells = [cell_of(line, column) for line in table.lines]
        found = [cell for cell in cells if resolve(cell) is not None]
        return sum(map(has_ending, found)), len(found)

    return max(columns, key=num_images)


def has_ending(name: str) -> bool:
    """Whether a name ends as files do."""
    return os.path.splitext(name.strip())[1] != ""


def _named_column(table, role, name):
    if name not in table.header:
        raise UserError(
            f"{table.flag}: no column {name} for the {role}, only {', '.join(table.header)}."
            f"{did_you_mean(name, table.header)}"
        )
    return table.header.index(name)
