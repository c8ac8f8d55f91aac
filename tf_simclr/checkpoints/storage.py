"""Checkpoints on disk: a tensor bundle of TensorFlow each, and a manifest with its checksums.

A bundle is written in a directory beside, then its files are moved to their places: data, index,
manifest. A process that dies in between leaves what is no checkpoint yet, or a whole one whose
manifest is missing. TensorFlow's own checksums, which cover the values, tell such a checkpoint from
a damaged one, as they do for bundles of older versions.
"""

import contextlib
import json
import os
import re

import tensorflow as tf
from absl import logging
from etils import epath

from tf_simclr.errors import Failed, UserError, first_line
from tf_simclr.runs.files import (
    CHECKPOINT_INDEX,
    CHECKPOINT_LIST,
    CHECKPOINT_MANIFEST,
    CHECKPOINT_PREFIX,
    DAMAGED,
    PARTIAL,
    digest,
    write_text,
)

# What TensorFlow raises for a file that is not whole.
UNREADABLE = (
    tf.errors.OpError,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    RuntimeError,
)

_known_problems = {}  # {(prefix, size and time of its files): what is wrong with it, or None}


def step_of(prefix: str) -> int:
    """The step of a checkpoint."""
    return int(str(prefix).rsplit("-", 1)[1])


def write(checkpoint: tf.train.Checkpoint, directory, step: int) -> str:
    """Writes the checkpoint of a step, unless there is a whole one.

    Args:
        checkpoint: what is written.
        directory: of the run.
        step: of the training.

    Returns:
        Its prefix.

    Raises:
        OSError, tf.errors.OpError: it can't be written.
    """
    directory = epath.Path(directory)
    name = f"{CHECKPOINT_PREFIX}-{step}"
    if step in _steps(directory) and _problem(directory, step) is None:
        return str(directory / name)
    partial = directory / PARTIAL
    try:
        _remove(partial)
        partial.mkdir(parents=True)
        checkpoint.write(str(partial / name))
        digests = {file.name: digest(file) for file in sorted(partial.iterdir())}
        manifest = {"step": step, "sha256": digests}
        (partial / (name + CHECKPOINT_MANIFEST)).write_text(
            json.dumps(manifest, indent=2) + "\n", encoding="utf-8"
        )
        for file in (*digests, name + CHECKPOINT_MANIFEST):  # data, index, manifest
            _flush(partial / file)
            (partial / file).replace(directory / file)
        _flush(directory)
    finally:
        with contextlib.suppress(OSError):
            _remove(partial)
    _write_list(directory)
    return str(directory / name)


def newest(directory) -> str | None:
    """Prefix of the newest whole checkpoint, or None.

    Newer ones, which are damaged, are named in the log and passed over.

    Raises:
        UserError: all checkpoints are damaged.
        Failed: they can't be read.
    """
    directory = epath.Path(directory)
    checked = []
    problems = []
    try:
        # Once more where a training has written and removed some meanwhile.
        while checked != (steps := _steps(directory)):
            checked = steps
            problems = []
            for step in reversed(steps):
                problem = _problem(directory, step)
                if problem is None:
                    return str(directory / f"{CHECKPOINT_PREFIX}-{step}")
                problems.append(problem)
    except OSError as error:
        path = error.filename or directory
        reason = error.strerror or error
        raise Failed(
            f"{path}: it can't be read ({reason}); nothing is changed, try again"
        ) from None
    if not checked:
        return None
    others = f", and so are {len(checked) - 1} older ones" if len(checked) > 1 else ""
    raise UserError(
        f"{directory / CHECKPOINT_PREFIX}-{checked[-1]} is damaged: {problems[0]}{others}; "
        "no whole checkpoint is left there: bring one back, or move these away to begin anew"
    )


def require_whole(prefix: str):
    """Checks a checkpoint by its manifest, if it has one.

    Raises:
        ValueError: it is damaged.
    """
    path = epath.Path(prefix)
    has_step = re.fullmatch(rf"{CHECKPOINT_PREFIX}-\d+", path.name)
    if has_step and (path.parent / (path.name + CHECKPOINT_MANIFEST)).exists():
        problem = _problem(path.parent, step_of(prefix))
        if problem:
            raise ValueError(problem)


def set_aside(directory, after: int = -1):
    """Moves the checkpoints of later steps than `after`, which are damaged, into `damaged/`."""
    directory = epath.Path(directory)
    damaged = directory / DAMAGED
    for step, files in _files(directory).items():
        if step > after:
            damaged.mkdir(exist_ok=True)
            for file in files:
                file.replace(damaged / file.name)
    _write_list(directory)


def prune(directory, keep: int | None):
    """Removes all but the newest checkpoints, and what was left of older ones.

    Args:
        directory: of the run.
        keep: how many are kept; None: all.
    """
    directory = epath.Path(directory)
    oldest_kept = _steps(directory)[-keep:][0] if keep else 0
    for step, files in _files(directory).items():
        if step < oldest_kept:
            for file in reversed(files):
                file.unlink()
    _write_list(directory)


def _files(directory):
    """{step: the files of its checkpoint in the order of writing}, steps ascending.

    A checkpoint may be damaged, or not complete yet.
    """
    files = {}
    paths = directory.iterdir() if directory.is_dir() else ()
    for path in paths:
        match = re.fullmatch(rf"{CHECKPOINT_PREFIX}-(\d+)\..+", path.name)
        if match:
            files.setdefault(int(match[1]), []).append(path)
    return {step: sorted(files[step], key=_order_of_writing) for step in sorted(files)}


def _order_of_writing(file):
    name = file.name
    return name.endswith(CHECKPOINT_MANIFEST), name.endswith(CHECKPOINT_INDEX)


def _steps(directory):
    """The steps that have a checkpoint, ascending; it may be damaged."""
    endings = (CHECKPOINT_INDEX, CHECKPOINT_MANIFEST)
    return [
        step
        for step, files in _files(directory).items()
        if any(file.name.endswith(endings) for file in files)
    ]


def _write_list(directory):
    """Writes the file that `tf.train.latest_checkpoint` reads."""
    steps = _steps(directory)
    if not steps:
        return
    lines = [f'model_checkpoint_path: "{CHECKPOINT_PREFIX}-{steps[-1]}"\n']
    for step in steps:
        lines.append(f'all_model_checkpoint_paths: "{CHECKPOINT_PREFIX}-{step}"\n')
    write_text(directory / CHECKPOINT_LIST, "".join(lines))


def _problem(directory, step):
    """What is wrong with a checkpoint, or None; it is logged when it is first noticed."""
    prefix = directory / f"{CHECKPOINT_PREFIX}-{step}"
    try:
        files = _files(directory).get(step, [])
        key = [str(prefix)]
        for file in files:
            status = file.stat()
            key.append((file.name, status.length, status.mtime))
        key = tuple(key)
        if key not in _known_problems:
            problem = _check(prefix, step, files)
            if problem:
                logging.warning("%s is damaged and passed over: %s", prefix, problem)
            _known_problems[key] = problem
        return _known_problems[key]
    except FileNotFoundError:  # a training has removed it meanwhile
        return "it is not there any more"


def _check(prefix, step, files):
    """What is wrong with a checkpoint, or None."""
    manifest = prefix.parent / (prefix.name + CHECKPOINT_MANIFEST)
    if manifest not in files:
        return _check_with_tensorflow(str(prefix), step, files)
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        digests = dict(content["sha256"])
        has_index = any(name.endswith(CHECKPOINT_INDEX) for name in digests)
        if content["step"] != step or not has_index:
            return f"{manifest.name} is that of step {content['step']}"
    except (ValueError, KeyError, TypeError):
        return f"{manifest.name} can't be read"
    for name, expected in digests.items():
        if prefix.parent / name not in files:
            return f"{name} is missing"
        if digest(prefix.parent / name) != expected:
            return f"{name} is not what was written (its SHA-256 is another one)"
    return None


def _check_with_tensorflow(prefix, step, files):
    """As `_check`, by the checksums that TensorFlow has written."""
    for file in files:
        with file.open("rb") as opened:  # what can't be read now is not damaged
            opened.read(1)
    try:
        reader = tf.train.load_checkpoint(prefix)
        values = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}
    except UNREADABLE as error:
        return first_line(error)
    for key, value in values.items():
        if key.startswith("step/") and int(value) != step:
            return f"it is that of step {int(value)}"
    return None


def _flush(path):
    """Returns when a file or directory is on the disk; in a bucket it is already."""
    if "://" in str(path):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(directory):
    if directory.exists():
        directory.rmtree()
