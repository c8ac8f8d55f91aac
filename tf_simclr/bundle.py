"""Checkpoints on disk: a tensor bundle of TensorFlow each, and a manifest with the checksums of its files.

A bundle is written in a directory beside, then its files are moved to their places: data, index, manifest. A process that
dies in between leaves what is no checkpoint yet, or a whole one whose manifest is missing; TensorFlow's own checksums,
which cover the values, tell that one from a damaged one, as they do for bundles of older versions.
"""

import contextlib
import hashlib
import json
import os
import re

import tensorflow as tf
from absl import logging
from etils import epath

from tf_simclr.config import UserError

PREFIX = "ckpt"
INDEX, MANIFEST = ".index", ".sha256.json"
PARTIAL, DAMAGED = "partial", "damaged"  # directories beside the checkpoints
UNREADABLE = (tf.errors.OpError, ValueError, IndexError, KeyError, TypeError, RuntimeError)  # what TensorFlow raises for a file that is not whole

_looked_at = {}  # {(prefix, size and time of its files): what is wrong with it, or None}


def first_line(error):
    """What an exception says, in one line."""
    return (str(getattr(error, "message", error)).strip().splitlines() or [type(error).__name__])[0]


def step_of(prefix):
    """The step of a checkpoint."""
    return int(str(prefix).rsplit("-", 1)[1])


def write(checkpoint, directory, step):
    """Writes a `tf.train.Checkpoint` as that of `step`, unless there is a whole one. Raises what TensorFlow or the system raises."""
    directory = epath.Path(directory)
    name, partial = f"{PREFIX}-{step}", directory / PARTIAL
    if _steps(directory, step) and _problem(directory / name) is None:
        return
    try:
        _remove(partial)
        partial.mkdir(parents=True)
        checkpoint.write(str(partial / name))
        digests = {file.name: _digest(file) for file in sorted(partial.iterdir())}  # data, then index
        (partial / (name + MANIFEST)).write_text(json.dumps({"step": step, "sha256": digests}, indent=2) + "\n")
        for file in (*digests, name + MANIFEST):
            (partial / file).replace(directory / file)
    finally:
        with contextlib.suppress(OSError):
            _remove(partial)
    _tell_tensorflow(directory)


def newest(directory):
    """Prefix of the newest whole checkpoint, or None; damaged ones are named in the log and passed over.

    Raises:
        UserError: all checkpoints are damaged.
    """
    problems = []
    for step in reversed(_steps(directory)):
        prefix = epath.Path(directory) / f"{PREFIX}-{step}"
        problem = _problem(prefix)
        if problem is None:
            return str(prefix)
        problems.append(f"{prefix} is damaged: {problem}")
    if problems:
        raise UserError(f"{problems[0]}{f', and so are {len(problems) - 1} older ones' if len(problems) > 1 else ''}; no whole checkpoint is left there: "
                        "bring one back, or move these away to begin anew")
    return None


def require_whole(prefix):
    """Raises ValueError if the checkpoint is known to be damaged by its manifest."""
    problem = _problem(epath.Path(prefix)) if epath.Path(f"{prefix}{MANIFEST}").exists() else None
    if problem:
        raise ValueError(problem)


def set_aside(directory, after=-1):
    """Moves the checkpoints of later steps than `after`, which are damaged, into the directory `damaged`."""
    directory = epath.Path(directory)
    for step in _steps(directory):
        if step > after:
            (directory / DAMAGED).mkdir(exist_ok=True)
            for file in directory.glob(f"{PREFIX}-{step}.*"):
                file.replace(directory / DAMAGED / file.name)
    _tell_tensorflow(directory)


def keep(directory, count):
    """Removes all but the newest `count` checkpoints (None: keeps all)."""
    directory = epath.Path(directory)
    for step in _steps(directory)[:-count] if count else []:
        for file in sorted(directory.glob(f"{PREFIX}-{step}.*"), key=_order, reverse=True):
            file.unlink()
    _tell_tensorflow(directory)


def _order(path):
    """Sorts the files of a checkpoint as they are written; in the other order they are removed."""
    return (path.name.endswith(MANIFEST), path.name.endswith(INDEX))


def _steps(directory, *only):
    """The steps of which there is a checkpoint, rising; it may be damaged."""
    directory = epath.Path(directory)
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    found = {int(match[1]) for match in (re.fullmatch(rf"{PREFIX}-(\d+)({re.escape(INDEX)}|{re.escape(MANIFEST)})", name) for name in names) if match}
    return sorted(found & set(only) if only else found)


def _tell_tensorflow(directory):
    """Writes the file that `tf.train.latest_checkpoint` reads."""
    steps, partial = _steps(directory), directory / "checkpoint.partial"
    if steps:
        rows = [("model_checkpoint_path", steps[-1]), *(("all_model_checkpoint_paths", step) for step in steps)]
        partial.write_text("".join(f'{name}: "{PREFIX}-{step}"\n' for name, step in rows))
        partial.replace(directory / "checkpoint")


def _problem(prefix):
    """What is wrong with the checkpoint at `prefix` (epath.Path), or None; named in the log when it is first found."""
    try:
        files = [(file.name, stat.length, stat.mtime) for file in sorted(prefix.parent.glob(f"{prefix.name}.*")) for stat in [file.stat()]]
        key = (str(prefix), *files)
        if key not in _looked_at:
            _looked_at[key] = _look(prefix)
            if _looked_at[key]:
                logging.warning("%s is damaged and passed over: %s", prefix, _looked_at[key])
        return _looked_at[key]
    except OSError as error:
        return f"it can't be read ({error.strerror or error})"


def _look(prefix):
    manifest, step = prefix.parent / (prefix.name + MANIFEST), step_of(prefix)
    if not manifest.exists():
        return _look_with_tensorflow(str(prefix), step)
    try:
        written = json.loads(manifest.read_text())
        digests = dict(written["sha256"])
        if written["step"] != step or not any(name.endswith(INDEX) for name in digests):
            return f"{manifest.name} is that of step {written['step']}"
    except (ValueError, KeyError, TypeError):
        return f"{manifest.name} can't be read"
    for name, expected in digests.items():
        file = prefix.parent / name
        if not file.exists():
            return f"{name} is missing"
        if _digest(file) != expected:
            return f"{name} is not what was written (its SHA-256 is another one)"
    return None


def _look_with_tensorflow(prefix, step):
    try:
        reader = tf.train.load_checkpoint(prefix)
        values = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}
    except UNREADABLE as error:
        return first_line(error)
    found = next((int(value) for key, value in values.items() if key.startswith("step/")), step)
    return None if found == step else f"it is that of step {found}"


def _digest(path):
    """The SHA-256 of a file, which is on the disk and not only on its way there when this returns."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if "://" not in str(path):
            os.fsync(file.fileno())
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _remove(directory):
    if directory.exists():
        directory.rmtree()
