"""The published SimCLRv2 models in the user's cache: downloaded once, checked at every use.

A model is downloaded into a hidden folder beside its own, which is renamed when all of it is there.
The MD5 of each file is compared with that of the storage, and its SHA-256 is kept with the model.
"""

import base64
import contextlib
import functools
import json
import os
import pathlib
import shutil
import time
import urllib.parse

from absl import logging

from tf_simclr.checkpoints import downloads
from tf_simclr.checkpoints.downloads import RemoteFile
from tf_simclr.config import published, user_cache
from tf_simclr.config.inheritance import SAVED_MODEL_FILE, newest_export
from tf_simclr.console import Progress, announced_if_slow
from tf_simclr.errors import Failed, UserError, write_error
from tf_simclr.runs.files import digest
from tf_simclr.runs.locks import try_lock

STORAGE = "https://storage.googleapis.com"
MIRROR = "TF_SIMCLR_WEIGHTS_URL"  # environment variable with another address of the same storage
BUCKET = "simclr-checkpoints-tf2"
CHECKSUMS = "sha256.json"  # in the folder of a model: {file: SHA-256}
MEGABYTE = 10**6
SECONDS_BETWEEN_LOOKS = 0.2


def local_path(path: str, flag: str = "checkpoint", offline: bool = False) -> str:
    """Where weights are on this machine; a published model is downloaded if it is not yet.

    Args:
        path: of weights, or the name of a published model.
        flag: whose value it is, for messages.
        offline: whether only the cache may be used.

    Returns:
        `path`, the newest SavedModel in it, or the one in the cache.

    Raises:
        UserError: there is no such model, it is not in the cache and may not be downloaded, or the
            cache can't be written.
        Failed: the download has failed.
    """
    name = str(path)
    if not published.is_name(name):
        return newest_export(name)
    label = f"--{flag}={name}"
    published.check(name, label)
    folder = folder_of(name)
    if _is_intact(folder, label):
        return str(folder)
    if offline:
        raise UserError(
            f"{label}: it is not in the cache, {folder}, and --offline is given; leave --offline "
            "out, or copy that folder from a machine that has it"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder, name):
            if not _is_intact(folder, label):  # another process may have just fetched it
                _fetch(name, folder, label)
    except OSError as error:
        message = f"{label}: the cache {folder} can't be written ({error.strerror or error})"
        raise write_error(f"{message}; XDG_CACHE_HOME=FOLDER puts it elsewhere", error) from None
    return str(folder)


def folder_of(name: str) -> pathlib.Path:
    """The folder of a published model in the cache, which need not exist."""
    architecture, variant = published.split(name)
    return user_cache.folder("weights") / "simclrv2" / architecture / variant


def cached_megabytes(name: str) -> int | None:
    """The size of a published model in the cache; None: it is not there."""
    folder = folder_of(name)
    if not (folder / CHECKSUMS).exists():
        return None
    return round(sum(path.stat().st_size for path in folder.rglob("*")) / MEGABYTE)


def _is_intact(folder, label):
    """Whether a model is in the cache as it was downloaded; the log says what is damaged."""
    if not folder.exists():
        return False
    damage = _damage(folder)
    if damage:
        logging.warning("%s: %s in the cache %s; it has to be fetched again", label, damage, folder)
    return not damage


def _damage(folder):
    """What is wrong with a model in the cache; None: nothing."""
    try:
        checksums = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        for file, expected in checksums.items():
            if not (folder / file).exists():
                return f"{file} is missing"
            status = (folder / file).stat()
            if _digest(folder / file, status.st_size, status.st_mtime_ns) != expected:
                return f"{file} is not what was downloaded (its SHA-256 is another one)"
    except (OSError, ValueError, AttributeError):
        return f"{CHECKSUMS} can't be read"
    return None if SAVED_MODEL_FILE in checksums else f"{SAVED_MODEL_FILE} is missing"


@functools.cache
def _digest(path, size, modified):
    """The SHA-256 of a file of gigabytes, which a command takes several times, as it is now."""
    return digest(path)


@contextlib.contextmanager
def _lock(folder, name):
    """One process or thread at a time downloads a model; the others wait, and then it is there."""
    path = folder.with_name(f".{folder.name}.lock")
    with announced_if_slow(f"waiting for another process that downloads {name}"):
        while (lock := try_lock(path)) is None:
            time.sleep(SECONDS_BETWEEN_LOOKS)
    try:
        yield
    finally:
        if lock is not True:
            lock.close()


def _fetch(name, folder, label):
    """Downloads a model next to its folder, and puts it there."""
    files = _list_files(name, label)
    new = folder.with_name(f".{folder.name}.new")
    total = sum(file.size for file in files.values()) / MEGABYTE
    logging.info("downloading %s, %.0f MB, into %s", name, total, folder)
    checksums = {}
    with Progress(f"downloading {name}", total, unit="MB") as progress:
        for relative, file in files.items():
            path = new / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            if downloads.is_same(file, path):
                progress.update(file.size / MEGABYTE)
            else:
                path.unlink(missing_ok=True)
                downloads.download(file, path, label, lambda size: progress.update(size / MEGABYTE))
            checksums[relative] = digest(path)
    (new / CHECKSUMS).write_text(json.dumps(checksums, indent=2) + "\n", encoding="utf-8")
    if folder.exists():  # damaged
        shutil.rmtree(folder)
    new.rename(folder)


def _list_files(name, label):
    """{path in the SavedModel: RemoteFile}, as the storage lists them."""
    architecture, variant = published.split(name)
    prefix = f"simclrv2/{variant}/{architecture}/saved_model/"
    files = {}
    for item in _items(prefix, label):
        relative = item["name"].removeprefix(prefix)
        # A simple mirror lists all it has; "folders" of a bucket end with a slash.
        if item["name"].startswith(prefix) and relative and not relative.endswith("/"):
            _check_stays_inside(relative, label)
            files[relative] = _remote_file(item)
    if SAVED_MODEL_FILE not in files:
        raise UserError(
            f"{label}: {_storage()} has no {prefix}{SAVED_MODEL_FILE} in {BUCKET}; "
            f"is {MIRROR} the address of a whole mirror?"
        )
    return files


def _items(prefix, label):
    """Yields what the storage says of each object whose name begins with `prefix`.

    Source: https://cloud.google.com/storage/docs/json_api/v1/objects/list
    """
    page_token = ""
    while page_token is not None:
        query = urllib.parse.urlencode({"prefix": prefix, "pageToken": page_token})
        url = f"{_storage()}/storage/v1/b/{BUCKET}/o?{query}"
        try:
            listing = json.loads(downloads.read(url, label))
            yield from listing.get("items", [])
            page_token = listing.get("nextPageToken")
        except (ValueError, AttributeError):
            raise Failed(
                f"{label}: {url} answers with no list of objects; is {MIRROR} a mirror of "
                f"{STORAGE}?"
            ) from None


def _remote_file(item):
    url = f"{_storage()}/{BUCKET}/{urllib.parse.quote(item['name'])}"
    # Objects that were put together of several uploads have no MD5. TensorFlow's checksums of the
    # values, which are checked when they are read, then are all there is.
    md5 = base64.b64decode(item.get("md5Hash", "")).hex()
    return RemoteFile(url, int(item["size"]), md5)


def _check_stays_inside(relative, label):
    """What a server says is not to be trusted."""
    path = pathlib.PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or "\\" in relative:
        raise UserError(f"{label}: {_storage()} lists {relative!r}, which is no path of a file")


def _storage():
    return os.environ.get(MIRROR, "").rstrip("/") or STORAGE
