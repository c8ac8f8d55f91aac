"""The table that --mode=predict writes: rows appended to a partial file, resumed after a kill."""

import collections
import csv
import json
import os
import pathlib
from collections.abc import Iterator

from absl import logging

from tf_simclr.commands.parquet import PARQUET, require_package
from tf_simclr.errors import UserError, not_written
from tf_simclr.runs import files as run_files
from tf_simclr.runs.calibration import UNLIKE_ANYTHING
from tf_simclr.runs.locks import try_lock

COLUMNS = ("file", "split", "class", "probability", "second", "margin", "unsure", "novelty")
CSV = ".csv"
TRUTH = {True: "true", False: "false", None: ""}
ROWS_BETWEEN_SAVES = 1000
MAX_NAMED = 5  # classes that are counted in the last line


def columns(top_k: int) -> list[str]:
    """The names of the columns."""
    further = [(f"class_{rank}", f"probability_{rank}") for rank in range(3, top_k + 1)]
    return [*COLUMNS, *(name for pair in further for name in pair)]


class Tally:
    """What the rows say, in numbers.

    Attributes:
        images: how many.
        splits: {split: images}.
        classes: {class: images}.
        unsure: how many are below the threshold; None: there is none.
        unlike: how many are unlike anything that was seen; None: it is not known.
    """

    def __init__(self):
        self.images = 0
        self.splits = collections.Counter()
        self.classes = collections.Counter()
        self.unsure = self.unlike = None

    def add(self, row: list[str]):
        """Counts a row of the table."""
        _, split, class_name, _, _, _, unsure, novelty = row[: len(COLUMNS)]
        self.images += 1
        self.splits[split] += 1
        self.classes[class_name] += 1
        if unsure:
            self.unsure = (self.unsure or 0) + (unsure == TRUTH[True])
        if novelty:
            self.unlike = (self.unlike or 0) + (float(novelty) > UNLIKE_ANYTHING)

    def text(self) -> str:
        """All of it in a line."""
        counts = self.classes.most_common(MAX_NAMED)
        more = ", ..." if len(self.classes) > MAX_NAMED else ""
        texts = [", ".join(f"{name} ({count})" for name, count in counts) + more]
        if self.unsure is not None:
            texts.append(f"{self.unsure} unsure")
        if self.unlike is not None:
            texts.append(f"{self.unlike} unlike anything trained on (novelty > {UNLIKE_ANYTHING})")
        return f"{self.images} images: {'; '.join(texts)}"


class PredictionFile:
    """Rows of predictions; a file of the output's name is there when all of them are.

    Args:
        output: path of the .csv or .parquet file.
        about: {what the rows depend on: value}, of texts and numbers.
        top_k: classes of a row.
        is_written: whether this process writes; others only count.

    Attributes:
        tally: of the rows so far.
    """

    def __init__(self, output: pathlib.Path, about: dict, top_k: int, is_written: bool):
        self.tally = Tally()
        self._output = output
        self._about = about
        self._columns = columns(top_k)
        self._is_written = is_written
        self._partial = output.with_name(output.name + run_files.PREDICTIONS_PARTIAL)
        self._state = output.with_name(output.name + run_files.PREDICTIONS_STATE)
        self._unsaved = []
        self._lock = None

    def resume(self, expected: Iterator[tuple[str, str]]):
        """Counts the rows that an interrupted run has left, where they are of the same work.

        Args:
            expected: (file, split) of all rows, in order.

        Raises:
            UserError: another process writes the same output.
        """
        if self._partial.exists():
            self._hold_lock()
        state = self._read_state()
        if state is None:
            return
        reason = self._difference(state)
        if reason is None:
            tally = self._matching(state, expected)
            if tally is not None:
                self.tally = tally
                logging.info("%s: goes on after %d images", self._partial, tally.images)
                return
            reason = "its rows are of other images"
        logging.info("%s is left of an earlier run; begun anew: %s", self._partial, reason)

    def _read_state(self):
        try:
            return json.loads(self._state.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # there is none, or it can't be relied on
            return None

    def _difference(self, state):
        about = state.get("about") if isinstance(state, dict) else None
        if not isinstance(about, dict):
            return "what it is of is not known"
        names = [name for name in self._about if about.get(name) != self._about[name]]
        return f"other {', '.join(names)}" if names else None

    def _matching(self, state, expected):
        """The tally of the rows that were saved; None if they are not the first of `expected`."""
        tally = Tally()
        try:
            with open(self._partial, "rb") as file:
                saved = csv.reader(_lines(file, state["bytes"]))
                next(saved)  # the names of the columns
                for row in saved:
                    if tuple(row[:2]) != next(expected, None):
                        return None
                    tally.add(row)
        except (OSError, ValueError, KeyError, TypeError, StopIteration):
            return None
        return tally if tally.images == state.get("rows") else None

    def begin(self):
        """Makes the partial file what was resumed, or begins a new one; after all have resumed.

        Raises:
            UserError: it can't be written to, or another process writes the same output.
        """
        if not self._is_written:
            return
        try:
            self._hold_lock()
            if self.tally.images:
                os.truncate(self._partial, self._read_state()["bytes"])  # a kill leaves more
            else:
                self._state.unlink(missing_ok=True)
                self._partial.write_bytes(b"")
                self._unsaved.append(self._columns)
                self._save()
        except OSError as error:
            raise self._write_error(error) from None
        if self._output.exists():
            logging.info("%s exists: it is replaced when the new one is whole", self._output)

    def add(self, predictions: list[list[str]]):
        """Appends rows, which are saved from time to time.

        Raises:
            UserError: they can't be written.
        """
        for row in predictions:
            self.tally.add(row)
        self._unsaved += predictions
        if len(self._unsaved) >= ROWS_BETWEEN_SAVES:
            self.save()

    def save(self):
        """Saves the rows so far; another start goes on after them.

        Raises:
            UserError: they can't be written.
        """
        try:
            self._save()
        except OSError as error:
            raise self._write_error(error) from None

    def _save(self):
        if self._is_written and self._unsaved:
            with open(self._partial, "a", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows(self._unsaved)
                size = file.tell()
            state = {"about": self._about, "rows": self.tally.images, "bytes": size}
            run_files.write_text(self._state, json.dumps(state, indent=2) + "\n")
        self._unsaved = []

    def finish(self):
        """Makes the rows the output.

        Raises:
            UserError: it can't be written.
        """
        self.save()
        if not self._is_written:
            return
        try:
            if self._output.suffix == PARQUET:
                _write_parquet(self._partial, self._output, self._columns)
                self._partial.unlink()
            else:
                self._partial.replace(self._output)
            self._state.unlink()
        except OSError as error:
            raise self._write_error(error) from None

    def close(self):
        """Lets other processes write the output."""
        self._lock = None

    def _hold_lock(self):
        """Until `close`, or the end of this process."""
        if not self._is_written or self._lock is not None:
            return
        try:
            self._lock = try_lock(self._partial)
        except OSError as error:
            raise self._write_error(error) from None
        if self._lock is None:
            raise UserError(
                f"--predict_output={self._output}: another process writes it now; wait for it, or "
                "give another --predict_output"
            )

    def _write_error(self, error):
        return not_written(f"--predict_output={self._output}", error)


def _lines(file, size):
    """Yields the lines in the first `size` bytes of a file."""
    while size > 0 and (line := file.readline(size)):
        size -= len(line)
        yield line.decode("utf-8")


def _write_parquet(source, output, names):
    """Makes a CSV file Parquet, some rows at a time."""
    import pyarrow
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    types = dict.fromkeys(names, pyarrow.string())
    numbers = [name for name in names if name.startswith("probability")]
    types |= dict.fromkeys((*numbers, "margin", "novelty"), pyarrow.float32())
    types["unsure"] = pyarrow.bool_()
    reader = arrow_csv.open_csv(
        source,
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(column_types=types, null_values=[""]),
    )
    with (
        run_files.written_whole(output) as partial,
        parquet.ParquetWriter(partial, reader.schema) as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)


def check(output: pathlib.Path):
    """Checks that a file can be written as --predict_output, before any work.

    Raises:
        UserError: another ending, a directory, a file with something else, or a folder that can't
            be made.
    """
    flag = f"--predict_output={output}"
    if output.suffix not in (CSV, PARQUET):
        raise UserError(f"{flag}: accepted are files that end in {CSV} and {PARQUET}")
    require_package(flag, output.suffix)
    if output.is_dir():
        raise UserError(f"{flag}: it is a directory; give a file")
    if output.suffix == CSV:
        run_files.check_replaceable(output, COLUMNS, flag)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(flag, error) from None
