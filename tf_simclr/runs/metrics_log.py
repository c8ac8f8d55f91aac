"""The metrics of a run over its steps: `metrics.jsonl` and the trackers. No TensorFlow."""

import json
import math
import time

from absl import logging

from tf_simclr.errors import UserError
from tf_simclr.runs import files
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.runs.tracking import Tracking


class MetricsLog:
    """The metrics of a run, a JSON line each time that some are written.

    A line has `step`, `wall_time` (seconds since 1970) and the metrics by their TensorBoard tag.
    Only the process that writes the run directory may use it. As a context manager it ends the runs
    of the trackers.

    Args:
        directory: of the run.
        tracking: gets the same metrics.

    Attributes:
        collects: whether lines wait for `flush`. In a bucket (gs://...) they do: a file can't grow
            there, so that each time the whole of it is uploaded again.
    """

    def __init__(self, directory: RunDirectory, tracking: Tracking):
        self._directory = directory
        self._tracking = tracking
        self.collects = "://" in str(directory.path)
        self._waiting = []  # lines
        self._is_whole = False  # whether a line that a kill or a full disk has torn would show

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        try:
            self.flush()
        finally:
            self._tracking.finish(kind)

    def write(self, step: int, scalars: dict):
        """Adds a line, see `collects`.

        Args:
            step: of the training.
            scalars: {tag: scalar}; without any there is no line.

        Raises:
            UserError: it can't be written.
        """
        if not scalars:
            return
        values = {tag: float(scalar) for tag, scalar in scalars.items()}
        line = {"step": step, "wall_time": round(time.time(), 3)}
        for tag, value in values.items():
            line[tag] = value if math.isfinite(value) else None  # JSON has no NaN
        self._waiting.append(json.dumps(line, allow_nan=False) + "\n")
        if not self.collects:
            self.flush()
        self._tracking.write(step, values)

    def flush(self):
        """Writes the lines that wait.

        Raises:
            UserError: they can't be written.
        """
        text = "".join(self._waiting)
        self._waiting.clear()
        if not text:
            return
        if not self._is_whole:
            self.drop_after(math.inf)
        self._directory.append_text(files.METRICS, text)

    def drop_after(self, step: float):
        """Takes back what a resumed training does again, and a torn line.

        Args:
            step: the last one whose lines are kept.

        Raises:
            UserError: it can't be read or written.
        """
        self._is_whole = True
        path = self._directory.path / files.METRICS
        lines = _read_lines(path)
        kept = [line for line in lines if _step_of(line) <= step]
        if len(kept) == len(lines):
            return
        self._directory.write_text(files.METRICS, b"".join(kept).decode())
        logging.info(
            "%s: %d of %d lines are dropped: steps that are done again, or torn",
            path,
            len(lines) - len(kept),
            len(lines),
        )


def _read_lines(path):
    """The lines of the file with their ends, none where there is no file."""
    try:
        return path.read_bytes().splitlines(keepends=True) if path.exists() else []
    except OSError as error:
        raise UserError(
            f"{path}: it can't be read ({error.strerror or error}); move it elsewhere"
        ) from None


def _step_of(line):
    """The step of a line; NaN, which is in no order, if the line is not whole."""
    try:
        return float(json.loads(line)["step"]) if line.endswith(b"\n") else math.nan
    except (ValueError, KeyError, TypeError):
        return math.nan
