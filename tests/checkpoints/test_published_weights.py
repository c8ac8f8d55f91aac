"""Published models by name: their download, their cache, and what follows from their name."""

import errno
import json
import os
import pathlib
import subprocess
import sys
import threading

import pytest

from tests.helpers.waiting import SECONDS
from tests.helpers.weights_server import WeightsServer, objects_of
from tf_simclr.checkpoints import downloads, published_weights
from tf_simclr.checkpoints.published_weights import local_path
from tf_simclr.errors import Failed, UserError

NAME = "simclrv2:r50_1x_sk0/pretrained"
PREFIX = "simclrv2/pretrained/r50_1x_sk0/saved_model/"
DATA = PREFIX + "variables/variables.data-00000-of-00001"
FILES = {
    "saved_model.pb": b"graph" * 100,
    "variables/variables.index": b"index" * 50,
    "variables/variables.data-00000-of-00001": bytes(range(256)) * 40,
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder of the cache, which is new; nothing is waited for."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(downloads, "WAITS", (0, 0, 0))
    monkeypatch.setattr(published_weights, "SECONDS_BETWEEN_LOOKS", 0.01)
    return tmp_path / "cache" / "tf_simclr" / "weights" / "simclrv2"


@pytest.fixture
def server(monkeypatch, tmp_path):
    for name, content in FILES.items():
        path = tmp_path / "saved" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    objects = objects_of(tmp_path / "saved", "r50_1x_sk0", "pretrained")
    with WeightsServer(objects).running() as server:
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setenv(published_weights.MIRROR, server.url + "/")
        yield server


def contents(folder):
    """{path: content} of the files of a model, without its checksums."""
    folder = pathlib.Path(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    names.pop(published_weights.CHECKSUMS)
    return names


def whole_models(cache):
    """The folders in the cache that count as models."""
    return [path for path in cache.glob("*/*") if not path.name.startswith(".")]


def test_download_once(server, cache, log):
    folder = local_path(NAME)
    assert folder == str(cache / "r50_1x_sk0" / "pretrained")
    assert contents(folder) == FILES
    assert len(server.requests) == len(FILES)
    assert "downloading simclrv2:r50_1x_sk0/pretrained: 0 of 0 MB" in log.text
    assert local_path(NAME) == local_path(NAME, offline=True) == folder
    assert len(server.requests) == len(FILES)
    assert not list(cache.glob("*/.*.new"))


def test_other_paths_stay_what_they_are():
    assert local_path("runs/a") == "runs/a"


def test_a_cut_connection_is_resumed(server):
    server.cut_after = [100, 10**6, 3000, 50]
    assert contents(local_path(NAME)) == FILES
    ranges = [header for _, header in server.requests if header]
    assert ranges == ["bytes=100-", "bytes=3000-", "bytes=3050-"]


def test_a_later_start_goes_on_where_the_connection_was_lost(server, cache):
    server.cut_after = [10**6, 5000, 0, 0, 0, 0]
    message = r"the connection was lost at 5000 of 10240 bytes .* to go on from there"
    with pytest.raises(Failed, match=message):
        local_path(NAME)
    assert not whole_models(cache)
    server.requests.clear()
    assert contents(local_path(NAME)) == FILES
    assert server.requests[0] == (DATA, "bytes=5000-")
    assert len(server.requests) == 2  # what was whole is not fetched again


def test_a_server_without_ranges(server):
    server.knows_ranges = False
    server.cut_after = [100]
    assert contents(local_path(NAME)) == FILES


def test_wrong_bytes_are_not_kept(server, cache):
    server.spoiled = {DATA}
    message = r"--teacher_checkpoint=simclrv2:.*is not what the storage says it has \(its MD5 is"
    with pytest.raises(Failed, match=message):
        local_path(NAME, "teacher_checkpoint")
    assert not whole_models(cache)
    assert not list(cache.rglob("*data-00000*"))
    server.spoiled = set()
    assert contents(local_path(NAME)) == FILES


def test_a_resumed_file_that_has_changed_is_not_kept(server, cache):
    server.cut_after = [10**6, 5000, 0, 0, 0, 0]
    with pytest.raises(Failed):
        local_path(NAME)
    server.objects[DATA] = b"x" * 10240
    with pytest.raises(Failed, match="is not what the storage says it has"):
        local_path(NAME)
    assert contents(local_path(NAME))["variables/variables.data-00000-of-00001"] == b"x" * 10240


def test_more_bytes_than_listed(server):
    server.without_md5 = True
    assert contents(local_path(NAME)) == FILES
    name = "simclrv2:r50_1x_sk0/supervised"
    item = {"name": PREFIX.replace("pretrained", "supervised") + "saved_model.pb", "size": "3"}
    server.objects[item["name"]] = b"longer"
    server._item = lambda name: {"name": name, "size": "3"}
    with pytest.raises(Failed, match="6 bytes instead of 3"):
        local_path(name)


def test_missing_files(server, cache):
    server.missing = {DATA}
    with pytest.raises(
        UserError, match=r"--checkpoint=simclrv2:.*the server answers 404 Not Found"
    ):
        local_path(NAME)
    assert not whole_models(cache)
    with pytest.raises(UserError, match=r"has no simclrv2/supervised/.*/saved_model.pb"):
        local_path("simclrv2:r50_1x_sk0/supervised")


def test_a_list_that_leads_out_of_the_cache(server, cache):
    server.objects[PREFIX + "../../outside"] = b"x"
    with pytest.raises(UserError, match=r"'../../outside', which is no path of a file"):
        local_path(NAME)
    assert not list(cache.rglob("outside"))


def test_a_mirror_that_is_none(server, monkeypatch):
    monkeypatch.setattr(server, "_listing", lambda query: b"<html>")
    with pytest.raises(Failed, match=r"no list of objects; is TF_SIMCLR_WEIGHTS_URL a mirror"):
        local_path(NAME)


def test_a_server_that_is_not_there(server, monkeypatch):
    monkeypatch.setenv(published_weights.MIRROR, "http://127.0.0.1:9")
    with pytest.raises(Failed, match=r"127.0.0.1:9 can't be reached \(.*refused"):
        local_path(NAME)


def test_a_full_disk(server, cache, monkeypatch):
    class FullFile:
        def __enter__(self):
            return self

        def __exit__(self, *unused):
            pass

        def write(self, content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    open_file = pathlib.Path.open

    def open_on_a_full_disk(path, mode="r"):
        return FullFile() if "w" in mode else open_file(path, mode)

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "open", open_on_a_full_disk)
        with pytest.raises(Failed, match=r"can't be written \(No space left on device"):
            local_path(NAME)
    assert not whole_models(cache)
    assert contents(local_path(NAME)) == FILES


def test_a_cache_that_can_not_be_written(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"the cache .* can't be written .*XDG_CACHE_HOME=FOLDER"):
        local_path(NAME)


def test_offline(server):
    with pytest.raises(UserError, match=r"it is not in the cache, .* and --offline is given"):
        local_path(NAME, offline=True)
    assert not server.requests


@pytest.mark.parametrize("damage", ["changed", "removed", "no checksums"])
def test_a_damaged_cache_is_fetched_again(server, log, damage):
    folder = pathlib.Path(local_path(NAME))
    if damage == "changed":
        (folder / "variables" / "variables.index").write_bytes(b"other" * 50)
    elif damage == "removed":
        (folder / "saved_model.pb").unlink()
    else:
        (folder / published_weights.CHECKSUMS).write_text("{")
    with pytest.raises(UserError, match="not in the cache"):
        local_path(NAME, offline=True)
    words = {"changed": "its SHA-256 is another one", "removed": "is missing"}
    assert words.get(damage, "sha256.json can't be read") in log.text
    assert contents(local_path(NAME)) == FILES


def test_two_threads_at_once(server):
    folders = []
    threads = [
        threading.Thread(target=lambda: folders.append(contents(local_path(NAME))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folders == [FILES] * 4
    assert len(server.requests) == len(FILES)


def test_another_process_at_once(server, cache, request):
    """It waits for this one, which holds the lock."""
    program = f"from tf_simclr.checkpoints.published_weights import local_path as p; p({NAME!r})"
    (cache / "r50_1x_sk0").mkdir(parents=True)
    with published_weights._lock(cache / "r50_1x_sk0" / "pretrained", NAME):
        other = subprocess.Popen([sys.executable, "-c", program], cwd=pathlib.Path.cwd())
        request.addfinalizer(other.kill)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(1)
        assert not server.requests
    assert other.wait(SECONDS) == 0
    assert len(server.requests) == len(FILES)
    assert contents(local_path(NAME, offline=True)) == FILES


def test_checksums_are_kept(server):
    checksums = json.loads(
        (pathlib.Path(local_path(NAME)) / published_weights.CHECKSUMS).read_text()
    )
    assert sorted(checksums) == sorted(FILES)
