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

from tf_simclr.errors import Failed, UserError
from tf_simclr.runs.files import write_text

CHECKPOINT_PREFIX = "ckpt"
INDEX, MANIFEST = ".index", ".sha256.json"
PARTIAL, DAMAGED = "partial", "damaged"  # directories beside the checkpoints
UNREADABLE = (
    tf.errors.OpError,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    RuntimeError,
)  # what TensorFlow raises for a file that is not whole

_looked_at = {}  # {(prefix, size and time of its files): what is wrong with it, or None}


def first_line(error):
    """What an exception says, in one line."""
    return (str(getattr(error, "message", error)).strip().splitlines() or [type(error).__name__])[0]


def step_of(prefix):
    """The step of a checkpoint."""
    return int(str(prefix).rsplit("-", 1)[1])


def write(checkpoint, directory, step):
    """Writes a `tf.train.Checkpoint` as that of `step`, unless there is a whole one; its prefix. Raises what TensorFlow or the system raises."""
    directory = epath.Path(directory)
    name, partial = f"{CHECKPOINT_PREFIX}-{step}", directory / PARTIAL
    if step in _steps(directory) and _problem(directory, step) is None:
        return str(directory / name)
    try:
        _remove(partial)
        partial.mkdir(parents=True)
        checkpoint.write(str(partial / name))
        digests = {
            file.name: _digest(file) for file in sorted(partial.iterdir())
        }  # data, then index
        (partial / (name + MANIFEST)).write_text(
            json.dumps({"step": step, "sha256": digests}, indent=2) + "\n"
        )
        for file in (*digests, name + MANIFEST):
            _flush(partial / file)
            (partial / file).replace(directory / file)
        _flush(directory)
    finally:
        with contextlib.suppress(OSError):
            _remove(partial)
    _tell_tensorflow(directory)
    return str(directory / name)


def newest(directory):
    """Prefix of the newest whole checkpoint, or None; newer ones, which are damaged, are named in the log and passed over.

    Raises:
        UserError: all checkpoints are damaged.
        Failed: they can't be read.
    """
    directory, found = epath.Path(directory), []
    try:
        while found != (
            steps := _steps(directory)
        ):  # once more where a training has written and removed some meanwhile
            found, problems = steps, []
            for step in reversed(steps):
                problems.append(_problem(directory, step))
                if problems[-1] is None:
                    return str(directory / f"{CHECKPOINT_PREFIX}-{step}")
    except OSError as error:
        raise Failed(
            f"{error.filename or directory}: it can't be read ({error.strerror or error}); nothing is changed, try again"
        ) from None
    if steps:
        raise UserError(
            f"{directory / CHECKPOINT_PREFIX}-{steps[-1]} is damaged: {problems[0]}{f', and so are {len(steps) - 1} older ones' if len(steps) > 1 else ''}; "
            "no whole checkpoint is left there: bring one back, or move these away to begin anew"
        )
    return None


def require_whole(prefix):
    """Raises ValueError if the checkpoint is known to be damaged by its manifest."""
    path = epath.Path(prefix)
    if (
        re.fullmatch(rf"{CHECKPOINT_PREFIX}-\d+", path.name)
        and (path.parent / (path.name + MANIFEST)).exists()
    ):
        problem = _problem(path.parent, step_of(prefix))
        if problem:
            raise ValueError(problem)


def set_aside(directory, after=-1):
    """Moves the checkpoints of later steps than `after`, which are damaged, into the directory `damaged`."""
    directory = epath.Path(directory)
    for step, files in _files(directory).items():
        if step > after:
            (directory / DAMAGED).mkdir(exist_ok=True)
            for file in files:
                file.replace(directory / DAMAGED / file.name)
    _tell_tensorflow(directory)


def prune(directory, count):
    """Removes all but the newest `count` checkpoints (None: keeps all), and what was left of older ones."""
    directory = epath.Path(directory)
    oldest = _steps(directory)[-count:][0] if count else 0
    for step, files in _files(directory).items():
        for file in reversed(files) if step < oldest else ():
            file.unlink()
    _tell_tensorflow(directory)


def _files(directory):
    """{step: the files of its checkpoint in the order in which they are written}, steps rising; it may be damaged, or not one yet."""
    found = {}
    for path in directory.iterdir() if directory.is_dir() else ():
        match = re.fullmatch(rf"{CHECKPOINT_PREFIX}-(\d+)\..+", path.name)
        if match:
            found.setdefault(int(match[1]), []).append(path)
    return {
        step: sorted(
            files, key=lambda file: (file.name.endswith(MANIFEST), file.name.endswith(INDEX))
        )
        for step, files in sorted(found.items())
    }


def _steps(directory):
    """The steps of which there is a checkpoint, rising; it may be damaged."""
    return [
        step
        for step, files in _files(directory).items()
        if any(file.name.endswith((INDEX, MANIFEST)) for file in files)
    ]


def _tell_tensorflow(directory):
    """Writes the file that `tf.train.latest_checkpoint` reads."""
    steps = _steps(directory)
    if steps:
        rows = [
            ("model_checkpoint_path", steps[-1]),
            *(("all_model_checkpoint_paths", step) for step in steps),
        ]
        write_text(
            directory / "checkpoint",
            "".join(f'{name}: "{CHECKPOINT_PREFIX}-{step}"\n' for name, step in rows),
        )


def _problem(directory, step):
    """What is wrong with the checkpoint, or None; named in the log when it is first found."""
    prefix = directory / f"{CHECKPOINT_PREFIX}-{step}"
    try:
        files = _files(directory).get(step, [])
        key = (
            str(prefix),
            *((file.name, stat.length, stat.mtime) for file in files for stat in [file.stat()]),
        )
        if key not in _looked_at:
            _looked_at[key] = _look(prefix, step, files)
            if _looked_at[key]:
                logging.warning("%s is damaged and passed over: %s", prefix, _looked_at[key])
        return _looked_at[key]
    except FileNotFoundError:  # a training has removed it meanwhile
        return "it is not there any more"


def _look(prefix, step, files):
    manifest = prefix.parent / (prefix.name + MANIFEST)
    if manifest not in files:
        return _look_with_tensorflow(str(prefix), step, files)
    try:
        written = json.loads(manifest.read_text())
        digests = dict(written["sha256"])
        if written["step"] != step or not any(name.endswith(INDEX) for name in digests):
            return f"{manifest.name} is that of step {written['step']}"
    except (ValueError, KeyError, TypeError):
        return f"{manifest.name} can't be read"
    for name, expected in digests.items():
        if prefix.parent / name not in files:
            return f"{name} is missing"
        if _digest(prefix.parent / name) != expected:
            return f"{name} is not what was written (its SHA-256 is another one)"
    return None


def _look_with_tensorflow(prefix, step, files):
    for file in files:
        with file.open("rb") as opened:  # what can't be read now is not damaged
            opened.read(1)
    try:
        reader = tf.train.load_checkpoint(prefix)
        values = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}
    except UNREADABLE as error:
        return first_line(error)
    found = next((int(value) for key, value in values.items() if key.startswith("step/")), step)
    return None if found == step else f"it is that of step {found}"


def _digest(path):
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _flush(path):
    """Returns when a file or directory is on the disk and not only on its way there; in a bucket it is."""
    if "://" not in str(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(directory):
    if directory.exists():
        directory.rmtree()
