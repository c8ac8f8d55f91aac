"""Files over HTTP: resumed after a cut connection, compared with what the storage says of them.

`keras.utils.get_file` is not used: it begins anew after a cut connection, which with files of 3 GB
may never come to an end.
"""

import http.client
import pathlib
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import NamedTuple

from tf_simclr.errors import Failed, UserError, first_line, write_error
from tf_simclr.runs import files

PARTIAL = ".part"  # ending of a file that has not arrived as a whole
READ_SIZE = 2**20  # bytes at once
TIMEOUT = 60  # seconds without an answer
WAITS = (1, 4, 16)  # seconds before further attempts that bring nothing new
CHANGES_NOTHING = (400, 401, 403, 404, 410)  # answers after which a further attempt is no use
NETWORK_ERRORS = (OSError, http.client.HTTPException)


class RemoteFile(NamedTuple):
    """A file on a server.

    Attributes:
        url: where it is.
        size: in bytes.
        md5: its MD5 as hexadecimal text; empty: the storage does not have it.
    """

    url: str
    size: int
    md5: str


def read(url: str, label: str) -> bytes:
    """The content behind a URL.

    Args:
        url: of a small file.
        label: how messages call what is wanted.

    Raises:
        UserError: the server refuses it.
        Failed: it can't be reached.
    """
    for wait in (*WAITS, None):
        try:
            with _open(url) as response:
                return response.read()
        except NETWORK_ERRORS as error:
            _check_use_of_another_attempt(error, url, label)
            if wait is None:
                raise _unreachable(error, url, label) from None
            time.sleep(wait)


def download(file: RemoteFile, path: pathlib.Path, label: str, on_bytes: Callable[[int], None]):
    """Downloads a file, from where an earlier attempt has ended.

    Args:
        file: on the server.
        path: to write; it is there only once it is whole and checked.
        label: how messages call what is wanted.
        on_bytes: called with the number of further bytes that are there; less than 0: so many have
            to be fetched again.

    Raises:
        UserError: the server refuses it, or `path` can't be written.
        Failed: the connection was lost, the disk is full, or other bytes arrived.
    """
    partial = path.with_name(path.name + PARTIAL)
    on_bytes(_size(partial))
    failures = 0
    while _size(partial) < file.size or not partial.exists():
        before = _size(partial)
        reason = _continue(file, partial, label, on_bytes)
        failures = 0 if _size(partial) > before else failures + 1
        if failures > len(WAITS):
            raise Failed(
                f"{label}: {file.url}: the connection was lost at {before} of {file.size} bytes "
                f"({reason}); run the same command again to go on from there"
            )
        if failures:
            time.sleep(WAITS[failures - 1])
    _check(file, partial, label)
    partial.rename(path)


def _continue(file, partial, label, on_bytes):
    """One attempt; returns why it has ended early."""
    start = _size(partial)
    try:
        with _open(file.url, start) as response:
            is_continued = response.status == http.client.PARTIAL_CONTENT
            if start and not is_continued:  # the server sends all of it
                on_bytes(-start)
            mode = "ab" if is_continued else "wb"
            _write(response, partial, mode, file.size, label=label, on_bytes=on_bytes)
        return "the server sent less than it had said"
    except NETWORK_ERRORS as error:
        _check_use_of_another_attempt(error, file.url, label)
        return _reason(error)


def _open(url, start=0):
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(url, headers=headers)
    return urllib.request.urlopen(request, timeout=TIMEOUT)


def _write(response, partial, mode, size, *, label, on_bytes):
    """Writes what arrives; an error of the disk is another one than that of the network."""
    try:
        output = partial.open(mode)
    except OSError as error:
        raise _not_written(partial, label, error) from None
    with output:
        while content := response.read(READ_SIZE):
            try:
                output.write(content)
                output.flush()
            except OSError as error:
                raise _not_written(partial, label, error) from None
            on_bytes(len(content))
            if output.tell() > size:  # it may never end
                return


def _check(file, partial, label):
    """A file of another size or MD5 is removed."""
    size, md5 = _size(partial), _md5(partial)
    if size == file.size and md5 == (file.md5 or md5):
        return
    partial.unlink()
    wrong = f"its MD5 is {md5} instead of {file.md5}"
    if size != file.size:
        wrong = f"there are {size} bytes instead of {file.size}"
    raise Failed(
        f"{label}: {file.url}: what arrived is not what the storage says it has ({wrong}), and is "
        "not kept; run the same command again to fetch it anew"
    )


def is_same(file: RemoteFile, path: pathlib.Path) -> bool:
    """Whether a file that is there is the one on the server."""
    if not path.exists() or _size(path) != file.size:
        return False
    return not file.md5 or _md5(path) == file.md5


def _md5(path):
    return files.digest(path, "md5")


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _check_use_of_another_attempt(error, url, label):
    if isinstance(error, urllib.error.HTTPError) and error.code in CHANGES_NOTHING:
        raise UserError(
            f"{label}: {url}: the server answers {error.code} {error.reason}; "
            "is this the address of the storage or of a mirror?"
        ) from None


def _unreachable(error, url, label):
    host = urllib.parse.urlsplit(url).netloc
    return Failed(
        f"{label}: {host} can't be reached ({_reason(error)}); "
        "run the same command again once it can"
    )


def _reason(error):
    """What a network error says: URLError wraps another one."""
    return first_line(getattr(error, "reason", None) or error)


def _not_written(path, label, error):
    reason = error.strerror or error
    return write_error(f"{label}: {path} can't be written ({reason})", error)
