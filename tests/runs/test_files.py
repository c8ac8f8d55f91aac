"""How small files are read and written."""

import codecs

import pytest
from etils import epath
from etils.epath import backend

from tf_simclr.errors import UserError
from tf_simclr.runs import files

COLUMNS = ("file", "issue")


@pytest.fixture(params=[backend.os_backend, backend.tf_backend], ids=["local", "remote"])
def table(request, tmp_path, monkeypatch):
    """The path of a table, opened as local files are, or as those of gs://."""
    path = epath.Path(tmp_path / "table.csv")
    monkeypatch.setattr(type(path), "_backend", request.param)
    return path


def test_an_earlier_table_is_replaced(table):
    files.check_replaceable(table, COLUMNS, "--flag")  # there is none
    for start in (b"", codecs.BOM_UTF8):
        table.write_bytes(start + b"file,issue,similar\r\na.png,blank,\r\n")
        files.check_replaceable(table, COLUMNS, "--flag")


def test_another_table_stays(table):
    table.write_text("file,label\n")
    with pytest.raises(UserError, match=r"^--flag: this file exists and is no earlier table"):
        files.check_replaceable(table, COLUMNS, "--flag")


def test_what_is_not_written_whole_leaves_nothing(table):
    table.write_text("old")
    with pytest.raises(KeyboardInterrupt), files.written_whole(table) as partial:
        partial.write_text("the first part")
        raise KeyboardInterrupt
    assert table.read_text() == "old" and list(table.parent.iterdir()) == [table]
