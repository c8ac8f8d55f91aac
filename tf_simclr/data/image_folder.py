"""Folders of images: which files are there, and which can be read."""

import functools
import hashlib
import os
import pathlib
import stat
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr.config.recipes import CONFIG_FILE, PLANNED_FILE
from tf_simclr.console import Progress
from tf_simclr.data import decoding, file_checks, foreign_images, image_endings, scan_cache
from tf_simclr.data.cores import mapped
from tf_simclr.data.source import as_text, counted
from tf_simclr.errors import Failed, UserError, environment_failure

MAX_LOGGED = 10  # files that can't be read and are named in the log
RUN_FILES = (CONFIG_FILE, PLANNED_FILE)  # a folder with one of them is a run directory
MAX_FILE_BYTES = 2**30  # of an image file; it is read as a whole
SECONDS_BETWEEN_SAVES = 300  # of what was found out about files
CHECK_RATIO = 8  # a JPEG is checked at an eighth of its size, which takes less time


def files_below(folder: str, follow_links: bool = True) -> list[str]:
    """All files below a folder, sorted; hidden ones, and run directories, are left out.

    Args:
        folder: its path.
        follow_links: whether folders that are links are entered, but for those that lead back to a
            folder they lie in.
    """

    def log_unreadable(error):
        logging.warning("%s: its images are left out: %s", error.filename, error.strerror)

    files, runs = [], []
    ancestors = {str(folder): (os.path.realpath(folder),)}  # of each folder, with itself
    for path, folders, names in os.walk(folder, onerror=log_unreadable, followlinks=follow_links):
        if path != str(folder) and not set(RUN_FILES).isdisjoint(names):
            runs.append(path)
            folders.clear()
            continue
        entered = []
        for name in sorted(folders):
            inner = os.path.join(path, name)
            target = os.path.realpath(inner)
            if name.startswith(".") or target in ancestors[path]:
                continue
            entered.append(name)
            ancestors[inner] = (*ancestors[path], target)
        folders[:] = entered
        for name in names:
            if not name.startswith("."):
                files.append(os.path.join(path, name))
    if runs:
        _warn_of_runs(tuple(sorted(runs)))
    return sorted(files)


@functools.lru_cache(maxsize=64)
def _warn_of_runs(runs):
    """Says once what is left out, however often a folder is listed."""
    logging.warning(
        "%s with %s, e.g. %s: skipped: they are run directories",
        counted(len(runs), "folder"),
        " or ".join(RUN_FILES),
        as_text(runs[0]),
    )


def image_files(folder: str) -> list[str]:
    """The files of `files_below` that can be read by their endings."""
    return [file for file in files_below(folder) if image_endings.is_image(file)]


def no_images(root: str, folder: str) -> UserError:
    """The error for a folder without images.

    Args:
        root: of the data set.
        folder: that is searched.
    """
    return UserError(
        f"--dataset=folder:{root}: no image in {folder}; accepted are {image_endings.accepted()}"
    )


def readable(root: str, files: tuple[str, ...]) -> np.ndarray:
    """Indices of the files that can be decoded.

    The others are counted and the first ten named in the log. Files that have not changed since an
    earlier look are not read.

    Args:
        root: path of the folder.
        files: relative to `root`.

    Raises:
        UserError: none is left.
        Failed: as `problems_of`.
    """
    # Stages of a process are hours apart, and files may change in between. Of a million files the
    # states themselves would take 100 MB.
    states = hashlib.sha256()
    for file in files:
        states.update(f"{scan_cache.state(os.path.join(root, file))}\n".encode())
    return _readable(root, files, states.digest())


@functools.lru_cache(maxsize=8)  # splits may share their files
def _readable(root, files, states):
    paths = [os.path.join(root, file) for file in files]
    unchanged = scan_cache.unchanged(root, paths)
    new = [path for path in paths if path not in unchanged]
    keep = functools.partial(scan_cache.keep, root, listed=paths)
    reasons = dict(zip(new, problems_of(new, "checking images", keep))) if new else {}
    foreign_images.log_size([path for path, reason in reasons.items() if reason is None])
    problems = [reasons.get(path) for path in paths]
    bad = [index for index, problem in enumerate(problems) if problem]
    if bad:
        logging.warning("%d of %d images can't be read and are skipped:", len(bad), len(files))
        for index in bad[:MAX_LOGGED]:
            logging.warning("  %s: %s", files[index], problems[index])
    if len(bad) == len(files):
        raise UserError(
            f"--dataset=folder:{root}: none of the {len(files)} images can be read, "
            f"e.g. {files[0]}: {problems[0]}"
        )
    return np.setdiff1d(np.arange(len(files)), bad)


def problems_of(
    paths: list[str], what: str, keep: Callable[[dict], None] | None = None
) -> list[str | None]:
    """Why files can't be decoded.

    Args:
        paths: of the files.
        what: name of the work, for the progress.
        keep: is given what `scan_cache.keep` takes of those that can, now and then and at the end,
            also where this is interrupted.

    Returns:
        A reason for each, None for those that can be decoded.

    Raises:
        Failed: the cache can't be written, or the disk does not work.
    """
    problems, entries = [], {}
    last_save = time.monotonic()
    try:
        with Progress(what, len(paths)) as progress:
            for path, (problem, entry) in zip(paths, mapped(_look, paths)):
                problems.append(problem)
                if entry is not None:
                    entries[path] = entry
                if keep and time.monotonic() - last_save > SECONDS_BETWEEN_SAVES:
                    keep(entries)
                    entries = {}
                    last_save = time.monotonic()
                progress.update(1)
    finally:
        if keep and entries:
            keep(entries)
    return problems


def _look(path):
    """(why a file can't be decoded, None); of one that can (None, what `scan_cache` keeps)."""
    try:
        status = checked_status(path)  # before it is read: it may change meanwhile
        content = pathlib.Path(path).read_bytes()
        usable_path = foreign_images.usable_path(path)
        is_converted = usable_path != path
        _decode(tf.constant(pathlib.Path(usable_path).read_bytes() if is_converted else content))
        digest = scan_cache.content_digest(content)
        return None, (status.st_size, status.st_mtime_ns, digest)
    except Failed:
        raise
    except (UserError, OSError) as error:
        problem = str(error)
    except (tf.errors.OpError, ValueError) as error:
        problem = file_checks.reason(error)
    # Without the path, which may hold the words that it looks for.
    failure = environment_failure(OSError(problem.replace(f": {path!r}", "").replace(path, "")))
    if failure:
        raise Failed(f"{as_text(path)}: {failure}")
    return problem, None


def checked_status(path: str) -> os.stat_result:
    """The status of a file; refuses what would be read for ever, or would fill the memory.

    Raises:
        UserError: it is no regular file, or too large; the message is the reason.
        OSError: it is not there.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise UserError("it is not a regular file")
    if status.st_size > MAX_FILE_BYTES:
        raise UserError(
            f"it has {status.st_size} bytes, at most {MAX_FILE_BYTES} are read; cut it into "
            "several images, or save it smaller"
        )
    return status


@tf.function(autograph=False)
def _decode(contents):
    """Decodes a file, in one call: of small images each call takes longer than the pixels."""
    contents = file_checks.checked(contents)
    return tf.cond(
        tf.io.is_jpeg(contents),
        lambda: tf.shape(tf.io.decode_jpeg(contents, channels=3, ratio=CHECK_RATIO)),
        lambda: tf.shape(decoding.decode(contents)),
    )
