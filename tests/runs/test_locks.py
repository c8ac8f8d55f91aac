"""Who trains in a run directory, as another process sees it."""

import builtins

import pytest

from tf_simclr.errors import UserError
from tf_simclr.runs import directory as directory_module
from tf_simclr.runs import files
from tf_simclr.runs.directory import RunDirectory


def test_a_training_is_seen(tmp_path):
    directory, other = RunDirectory(tmp_path), RunDirectory(tmp_path)
    assert not directory.in_training()
    directory.lock()
    assert directory.in_training() and other.in_training()
    with pytest.raises(UserError, match="another process is training there"):
        other.lock()
    directory.unlock()
    assert not other.in_training()
    other.lock()
    del other
    assert not directory.in_training()


def test_where_there_are_no_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(directory_module, "try_lock", lambda path: True)
    directory = RunDirectory(tmp_path)
    directory.unlock()
    directory.lock()
    directory.unlock()


@pytest.mark.parametrize("may_read", [True, False])
def test_a_training_of_another_user(tmp_path, monkeypatch, may_read):
    """Who may not even read the file of the lock does not know of it, and gets no error."""
    directory = RunDirectory(tmp_path)
    directory.lock()
    monkeypatch.setattr(builtins, "open", opener(builtins.open, may_read))
    assert RunDirectory(tmp_path).in_training() == may_read


def opener(open_file, may_read):
    """`open`, for a user who may at most read the file of a lock."""

    def open_as_other(path, mode="r", *arguments, **keywords):
        if str(path).endswith(files.LOCK) and not (may_read and mode == "r"):
            raise PermissionError(13, "Permission denied", str(path))
        return open_file(path, mode, *arguments, **keywords)

    return open_as_other
