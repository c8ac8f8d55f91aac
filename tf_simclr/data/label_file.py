"""Labels from a table (CSV) beside the images, see --labels."""

import csv
import dataclasses
import io
import os
import statistics

from tf_simclr.config import label_tables
from tf_simclr.data import label_columns, text_encodings
from tf_simclr.data.label_columns import SYNTAX, Table, cell_of
from tf_simclr.data.label_names import ImageResolver
from tf_simclr.data.label_spellings import like_missing_values, unite_spellings, without_conflicts
from tf_simclr.data.layout import split_name
from tf_simclr.data.source import as_text, counted, first_names
from tf_simclr.errors import UserError, did_you_mean

DELIMITERS = (",", ";", "\t")
WAYS_TO_MEND_SPLITS = (
    "write one of these three or leave the cell empty, which means train; to ignore the column, "
    "rename it"
)


@dataclasses.dataclass(frozen=True)
class Labels:
    """What a table says of images.

    Attributes:
        classes: {image: class}.
        splits: {image: split}; None: the table has no such column.
        notes: what was ignored or guessed, a line each.
        flag: its --labels, with the columns where they were chosen among several.
    """

    classes: dict[str, str]
    splits: dict[str, str] | None
    notes: tuple[str, ...]
    flag: str


def read(value: str, folders: list[str], images: dict[str, str]) -> Labels:
    """The labels of images.

    Args:
        value: of --labels: the file, relative to the folder of the images or to the working
            directory; columns that are given as in SYNTAX.
        folders: of the images.
        images: {name: path} of all images.

    Raises:
        UserError: no such file, no table, columns that are not recognized, or no image in it.
    """
    name, options = label_tables.separate_columns(value)
    named_columns = dict(option.split("=", 1) for option in options.split(",") if "=" in option)
    path, *others = _find(value, name, folders)
    resolve = ImageResolver(images, [*folders, os.path.dirname(path)])
    table = _parse(f"--labels={value}", path, resolve, named_columns)
    columns = label_columns.choose(table, named_columns, resolve)
    labels = _labels(table, columns.numbers, resolve, "split" in named_columns)
    if others:
        listed = ", ".join(map(os.path.abspath, others))
        note = f"--labels={value}: {path} is read, and not {listed}"
        labels = dataclasses.replace(labels, notes=(note, *labels.notes))
    if columns.chosen:
        return dataclasses.replace(labels, flag=f"--labels={name}:{columns.chosen}")
    return labels


def unused_tables(folder: str) -> list[str]:
    """The names of tables that lie in a folder of images."""
    return sorted(
        name for name in os.listdir(folder) if name.lower().endswith(label_tables.SUFFIXES)
    )


def _find(value, name, folders):
    """The paths of the tables of a name, at least one."""
    paths = label_tables.find_all(name, folders)
    if paths:
        return paths
    names = [table for folder in folders for table in unused_tables(folder)]
    raise UserError(
        f"--labels={value}: no such file in {' or '.join(folders)} or the working directory; "
        f"accepted are a CSV file, none, or nothing.{did_you_mean(name, names)}"
    )


def _parse(flag, path, resolve, named_columns):
    lines = _read_lines(flag, path)
    if not lines:
        raise UserError(f"{flag}: {path} is empty; give a table with a line for each image")
    header = ()
    if _is_header(lines, resolve, named_columns):
        header = tuple(cell.strip() for cell in lines[0])
        lines = lines[1:]
    width = len(header) or _usual_width(lines)
    fitting, too_wide = [], []
    for cells in lines:
        if len(cells) <= width or not any(cell.strip() for cell in cells[width:]):
            fitting.append(cells)
        else:
            too_wide.append(cells)
    return Table(flag, path, header, fitting, too_wide)


def _usual_width(lines):
    """How many cells most lines have; those of images without a label may have one alone."""
    return max(2, min(statistics.multimode(map(_num_cells, lines))))


def _num_cells(cells):
    """How many cells a line has, without the empty ones at its end."""
    number = len(cells)
    while number and not cells[number - 1].strip():
        number -= 1
    return number


def _read_lines(flag, path):
    """The cells of each line that has some."""
    text = _decode(flag, path)
    first_line = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first_line.count)
    lines = io.StringIO(text, newline="").readlines()
    unread, begin = iter(lines), 0  # the line that the next record begins with
    records = []
    while begin < len(lines):
        # Not strict, a quote that is never closed would take all further lines into its cell.
        reader, first = csv.reader(unread, delimiter=delimiter, strict=True), begin
        try:
            for cells in reader:
                records.append(cells)
                begin = first + reader.line_num
        except csv.Error as error:
            cells = None
            if first + reader.line_num == begin + 1:
                cells = _cells_of(lines[begin], delimiter)
            if cells is None:
                raise UserError(
                    f"{flag}: {path} can't be read as a table from line {begin + 1} on: {error}; "
                    'close each quote, and write "" for one inside of quotes'
                ) from None
            records.append(cells)
            begin += 1
    return [cells for cells in records if cells]


def _cells_of(line, delimiter):
    """Those of a line whose quotes are closed, with something behind one, such as a space.

    None: they are not.
    """
    if line.count('"') % 2:
        return None
    try:
        (cells,) = csv.reader([line], delimiter=delimiter)
    except csv.Error:
        return None
    return cells


def _is_header(lines, resolve, named_columns):
    """Whether the first line has the names of columns; an image may be called file.jpg."""
    cells = lines[0]
    has_named = bool(named_columns) and set(named_columns.values()) <= set(cells)
    if has_named or label_columns.has_usual_names(cells):
        return True
    return not any(_is_image(lines, column, resolve) for column in range(len(cells)))


def _is_image(lines, column, resolve):
    """Whether a cell of the first line means an image.

    A name of several, without its ending, is one only where those below have no ending, either:
    above images a column may be called as some of them are.
    """
    cell = lines[0][column]
    if resolve(cell) is not None:
        return True
    below = [cell_of(cells, column) for cells in lines[1:]]
    has_ending = label_columns.has_ending(cell) or not any(map(label_columns.has_ending, below))
    return has_ending and bool(resolve.candidates(cell))


def _decode(flag, path):
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise UserError(f"{flag}: {path} can't be read ({error.strerror})") from None
    text = text_encodings.decode(content)
    if "\0" in text:
        raise UserError(f"{flag}: {path} is no text; give a CSV file")
    return text


def _labels(table, columns, resolve, split_is_given):
    spellings, splits = {}, {}  # of each image
    unknown, ambiguous, odd_splits = [], {}, []
    for cells in table.lines:
        cell = cell_of(cells, columns["file"])
        candidates = resolve.candidates(cell)
        if not candidates:
            unknown.append(cell)
            continue
        if len(candidates) > 1:
            ambiguous[cell] = candidates
            continue
        (image,) = candidates
        label = cell_of(cells, columns["label"])
        if label.strip():
            spellings.setdefault(image, []).append(label)
        split = cell_of(cells, columns.get("split"))
        if split_name(split.strip()):
            splits.setdefault(image, set()).add(split_name(split.strip()))
        elif split.strip():
            odd_splits.append(split.strip())
    if not spellings:
        raise UserError(_no_label(table, columns, unknown, ambiguous))
    classes, notes = unite_spellings(spellings)
    classes, conflicts = without_conflicts(classes)
    if unknown:
        notes.append(f"{counted(len(unknown), 'file')} of it not there, e.g. {unknown[0]}")
    if ambiguous:
        notes.append(_several_images(ambiguous))
    if table.too_wide:
        notes.append(_too_wide(table))
        # Without its split, an image to test on would be trained on.
        if splits or _has_split(table.too_wide, columns.get("split")):
            raise UserError(f"{table.flag}: {notes[-1]}")
    notes += [*conflicts, *like_missing_values(classes)]
    if odd_splits:
        must_be_known = splits or split_is_given
        notes.append(_odd_splits(table, columns, odd_splits, must_be_known))
    notes = tuple(f"{table.flag}: {note}" for note in notes)
    return Labels(classes, _only_splits(table, splits) or None, notes, table.flag)


def _only_splits(table, splits):
    """{image: split}; an image of two would be trained on and tested on."""
    several = {image: names for image, names in splits.items() if len(names) > 1}
    if several:
        image, names = next(iter(several.items()))
        number = counted(len(several), "image")
        raise UserError(
            f"{table.flag}: {number} in several splits, e.g. {as_text(image)} "
            f"({' and '.join(sorted(names))}); write one split for each image"
        )
    return {image: min(names) for image, names in splits.items()}


def _odd_splits(table, columns, cells, must_be_known):
    column = table.header[columns["split"]]
    number = counted(len(cells), "split")
    examples = first_names(sorted(set(cells)))
    message = f"column {column} has {number} other than train, val and test: {examples}"
    if must_be_known:  # without the column, images to test on would be trained on
        raise UserError(f"{table.flag}: {message}; {WAYS_TO_MEND_SPLITS}")
    return f"{message}; the column is ignored"


def _several_images(ambiguous):
    cell, images = next(iter(ambiguous.items()))
    number = counted(len(ambiguous), "name")
    listed = as_text(first_names(images))
    return f"{number} of several images not used, e.g. {cell} ({listed}); give paths"


def _too_wide(table):
    """A comma without quotes around it moves the cells behind it, and cuts a name or a class."""
    number = counted(len(table.too_wide), "line")
    normal_lines = "the header" if table.header else "most lines"
    example = ", ".join(cell.strip() for cell in table.too_wide[0])
    return (
        f"{number} with more cells than {normal_lines}, which can't be trusted and give no label, "
        f"e.g. {example}; write quotes around a text that has a separator in it"
    )


def _has_split(lines, column):
    """Whether one of lines that are too wide names a split, at its column or moved behind it."""
    if column is None:
        return False
    return any(split_name(cell) for cells in lines for cell in cells[column:])


def _no_label(table, columns, unknown, ambiguous):
    name = table.header[columns["file"]] if table.header else "first"
    if table.too_wide and not table.lines:
        return f"{table.flag}: it has no labels for any image; {_too_wide(table)}"
    if unknown and len(unknown) == len(table.lines):
        return (
            f"{table.flag}: none of its {len(unknown)} files is there, e.g. {unknown[0]} (column "
            f"{name}); give paths relative to the folder of the images, or names; {SYNTAX} says "
            "which column has them"
        )
    if ambiguous:
        return f"{table.flag}: it has no labels for any image; {_several_images(ambiguous)}"
    return f"{table.flag}: it has no labels for any image; {SYNTAX} says which column has them"
