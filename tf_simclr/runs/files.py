"""The name of every file in a run directory, and how small files are read and written."""

import contextlib
import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Sequence

from tf_simclr.config import held_out_choices, inheritance
from tf_simclr.config.recipes import CONFIG_FILE, PLANNED_FILE
from tf_simclr.config.stages import BEST_DIRECTORY
from tf_simclr.errors import UserError, not_written

# What a run is.
CONFIG = CONFIG_FILE  # its configuration
RECIPE = PLANNED_FILE  # what --config=auto has planned
DATA = "data.json"  # what it was trained on: numbers of images and labels, class names
BACKBONE = "backbone.json"  # the architecture of a published backbone, and where it is from
LABELS = "labels.json"  # which labels it may use
DIVISION = "division.json"  # images that are held out, or are not, for the sake of their class
HELD_OUT = "held_out.json"  # which training images validation during the training takes
HELD_OUT_CHOICE = "held_out_choice.json"  # what held-out labels have decided
CANDIDATES = held_out_choices.CANDIDATES  # runs of the candidates, until one is chosen
LOCK = "training.lock"  # held by the process that trains
METRICS = "metrics.jsonl"  # its metrics over the steps, a JSON line each time
TRACKING = "tracking.json"  # what the run is called by the trackers of --track

# Checkpoints; <step> follows the prefix.
CHECKPOINT_PREFIX = "ckpt"
CHECKPOINT_INDEX = inheritance.CHECKPOINT_INDEX
CHECKPOINT_MANIFEST = ".sha256.json"  # checksums of the files of a checkpoint
CHECKPOINT_LIST = "checkpoint"  # read by tf.train.latest_checkpoint
PARTIAL = "partial"  # directory where a checkpoint is written before it is moved to its place
DAMAGED = "damaged"  # directory of checkpoints that are not what was written
BEST = BEST_DIRECTORY  # directory of the checkpoint with the best metric on held-out images
BEST_RECORD = "best.json"  # in BEST: step, criterion, value

# What an evaluation writes.
RESULT = "result.json"  # metrics of the newest evaluation; of a chain, of all stages
RESULTS = "results.json"  # everything that is known of a run, for machines and for the report
REPORT = "report.html"
VERDICT = "verdict.txt"  # of a chain: what its report says first
REPORT_IMAGES = "report_images.jpg"
REPORT_VIEWS = "report_views.jpg"
BASELINES = "baselines.json"  # results on the untrained network and raw pixels
FEATURES = "features"  # directory of arrays of features
FEATURES_KEY = "asked.json"  # beside the arrays: what they depend on
CALIBRATION = "calibration.json"  # how sure the classifier may be
CALIBRATION_ARRAYS = "calibration.npz"  # and the arrays of it
TRANSFER = "transfer"  # directory with a run for each further data set
TRANSFER_ROW = "transfer.json"  # in the run of a data set: its row of the table

# TensorBoard events of an evaluation, and what its projector reads.
EVAL_EVENTS = "eval"  # directory, unless --eval_name gives another
PROJECTOR_CONFIG = "projector_config.pbtxt"
PROJECTOR_FEATURES = "features.tsv"
PROJECTOR_METADATA = "examples.tsv"

# Exports: a directory each, with one for each step.
SAVED_MODEL = "saved_model"
ASSETS = inheritance.ASSETS  # in a SavedModel
CLASS_NAMES = "class_names.txt"  # in ASSETS, a line for each class
MODEL_CARD = "model_card.md"  # in ASSETS

EMBEDDINGS = "embeddings.npz"
SEARCH_TABLE = "search.csv"  # what --mode=search has found
SEARCH_PAGE = "search.html"
PREDICTIONS = "predictions.csv"
PREDICTIONS_PARTIAL = ".partial"  # suffix: the rows so far
PREDICTIONS_STATE = ".partial.json"  # suffix: what these rows are of, and how many they are

# What an inspection writes.
ISSUES = "issues.csv"  # what is wrong with the images
INSPECTION = "inspection.json"  # the same in numbers and examples, for the report
INSPECTION_PAGE = "inspection.html"  # where there is no report

# What is written for the user to label; a number follows from the second round on.
TO_LABEL = "to_label.csv"
LABEL_PAGE = "label.html"

READ_SIZE = 2**20  # bytes of a file that are read at once


def result_of_step(step: int) -> str:
    """The file with the metrics of an evaluation after `step` steps."""
    return f"result_{step}.json"


def numbered(name: str, number: int) -> str:
    """The name of a file that may be there several times: NAME.csv, NAME_2.csv, ...

    Args:
        name: of the first one.
        number: from 1 on.
    """
    stem, ending = os.path.splitext(name)
    return name if number == 1 else f"{stem}_{number}{ending}"


def csv_text(rows_of_cells: Iterable[Sequence], line_end: str = "\n") -> str:
    """The text of a CSV file.

    Args:
        rows_of_cells: the names of the columns first.
        line_end: what ends a line.
    """
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator=line_end).writerows(rows_of_cells)
    return file.getvalue()


def partial_path(path):
    """Where this process writes a file until it is whole.

    Other processes may write the same file, such as an evaluation beside the training.

    Args:
        path: `epath.Path` of the file.
    """
    return path.parent / f"{path.name}.{os.getpid()}.partial"


@contextlib.contextmanager
def written_whole(path):
    """Gives another path to write to, which replaces a file at the end.

    An older file stays until then. Where an error ends the writing, nothing is left beside it.

    Args:
        path: `epath.Path`.
    """
    partial = partial_path(path)
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the directory may be what is wrong
            partial.unlink(missing_ok=True)
        raise


def write_text(path, text: str):
    """Writes a text file as UTF-8, see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path, content: bytes):
    """Writes a file whole or not at all.

    Args:
        path: `epath.Path`.
        content: of the file.

    Raises:
        OSError: it can't be written; nothing is left beside it then.
    """
    with written_whole(path) as partial:
        partial.write_bytes(content)


def check_replaceable(path, columns: Sequence[str], flag: str):
    """Checks, before any work, that a table will replace an earlier one of its kind or nothing.

    Args:
        path: of the CSV file.
        columns: names of the first columns.
        flag: that names the file, with its value.

    Raises:
        UserError: the file has something else, such as the user's labels, or can't be read.
    """
    expected = csv_text([columns]).strip()
    try:
        if not path.exists():
            return
        with path.open("rb") as file:
            beginning = file.read(READ_SIZE)  # `readline` of remote files takes no size
    except OSError as error:
        raise not_written(flag, error) from None
    # Excel writes a mark at the beginning.
    first_line = beginning.partition(b"\n")[0].decode("utf-8-sig", errors="replace").strip()
    if first_line and not first_line.startswith(expected):
        raise UserError(
            f"{flag}: this file exists and is no earlier table of this mode, which begins with "
            f"{expected}; give another file, or remove this one"
        )


def append_text(path, text: str):
    """Adds to the end of a file, which is made where there is none, in one write.

    Args:
        path: `epath.Path`.
        text: whole lines.

    Raises:
        OSError: it can't be written.
    """
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def digest(path, algorithm: str = "sha256") -> str:
    """The hash of a file's content as hexadecimal text.

    Args:
        path: of the file.
        algorithm: a name of hashlib.
    """
    value = hashlib.new(algorithm)
    with path.open("rb") as file:
        while content := file.read(READ_SIZE):
            value.update(content)
    return value.hexdigest()


def read_json(path):
    """The content of a JSON file.

    Args:
        path: `epath.Path`.

    Returns:
        Its content; None if there is no such file.

    Raises:
        UserError: it can't be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    except NotADirectoryError:  # a part of the path is a file
        return None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: it can't be read ({error}); repair it, or give another --model_dir"
        ) from None
