"""What is known of image files that were read before, by path, size and time of change.

It is kept in the user's cache, a file for each folder, and may be deleted at any time.
"""

import hashlib
import json
import os
import time

from absl import logging

from tf_simclr.config import user_cache
from tf_simclr.console import Progress
from tf_simclr.data.cores import mapped
from tf_simclr.errors import environment_failure

VERSION = 2  # to be raised when files that were readable are not any more
DIGEST_BYTES = 16
# A file may change once more without another time of change: clocks of file systems are coarse.
SETTLED_SECONDS = 2
# Errors of a file that another program has removed or locked; others are not of the file.
GONE = (FileNotFoundError, NotADirectoryError, PermissionError)


def digests(root: str, paths: list[str]) -> list[str]:
    """Hashes of the contents of files; those that have not changed since are not read again.

    Args:
        root: the folder that they belong to.
        paths: of the files, all of which can be read.

    Returns:
        Hexadecimal texts; empty for a file that is gone.

    Raises:
        Failed: the disk does not work.
    """
    known = _load(root)
    keys = {path: _key(root, path) for path in paths}
    states = {path: state(path) for path in keys}
    new = [path for path, key in keys.items() if not _is_known(known, key, states[path])]
    if new:
        entries = _read(new, states)
        known.update({keys[path]: entry for path, entry in entries.items()})
        _save(root, known, keys.values())
    return [known[keys[path]][-1] for path in paths]


def unchanged(root: str, paths: list[str]) -> set[str]:
    """The files that could be read before, and have not changed since."""
    known = _load(root)
    return {path for path in paths if _is_known(known, _key(root, path), state(path))}


def keep(root: str, entries: dict[str, tuple[int, int, str]], listed: list[str]):
    """Keeps what was found out about files.

    Args:
        root: the folder that they belong to.
        entries: {path: (size, time of change, hash of the content)} of files that can be read.
        listed: the paths of files that are in the folder; of others it is looked up.
    """
    known = _load(root)
    known.update({_key(root, path): list(entry) for path, entry in entries.items()})
    _save(root, known, [_key(root, path) for path in listed])


def state(path: str) -> tuple[int, int] | None:
    """(size in bytes, time of change in ns) of a file; None: it is gone."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def content_digest(content: bytes) -> str:
    """The hash of a file's content."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


def _key(root, path):
    """The path relative to the folder, in which it may be named in several ways."""
    return path.removeprefix(os.path.join(root, ""))


def _is_known(known, key, current):
    return current is not None and tuple(known.get(key, ())[:-1]) == current


def _read(paths, states):
    """{path: [size, time, digest]}."""
    entries = {}
    with Progress("looking for copies", len(paths)) as progress:
        for path, digest in zip(paths, mapped(_digest, paths)):
            entries[path] = [*(states[path] or (0, 0)), digest]
            progress.update(1)
    return entries


def _digest(path):
    try:
        with open(path, "rb") as file:
            return content_digest(file.read())
    except GONE:
        return ""
    except OSError as error:  # such as too many open files, of which it knows nothing
        raise environment_failure(error) or error from None


def _file_of(root):
    name = content_digest(os.fsencode(os.path.realpath(root)))
    return user_cache.folder("scans") / f"{name}.json"


def _load(root):
    """{key: [size, time, digest]}, empty where nothing usable is saved."""
    try:
        saved = json.loads(_file_of(root).read_text(encoding="utf-8"))
        if saved["version"] != VERSION:
            return {}
        return {key: list(entry) for key, entry in saved["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _save(root, known, listed):
    newest = time.time_ns() - SETTLED_SECONDS * 10**9
    listed = set(listed)  # which spares a look at each
    settled = {
        key: entry
        for key, entry in known.items()
        if entry[-1] and entry[1] < newest
        if key in listed or os.path.exists(os.path.join(root, key))
    }
    if not settled:
        return
    path = _file_of(root)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps({"version": VERSION, "files": settled}), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        logging.info("%s: not written (%s), so the next start reads all images again", path, error)
        partial.unlink(missing_ok=True)
