"""The table of predictions as a file: resumed, replaced, as Parquet."""

import csv
import sys

import numpy as np
import pytest
from pyarrow import parquet

from tf_simclr.commands import embedding_file, prediction_file
from tf_simclr.commands.prediction_file import PredictionFile
from tf_simclr.errors import UserError

ABOUT = {"weights": "abc", "top k": 2}
NAMES = ("a.png", "zwei\nZeilen.png", 'drei, "vier".png', "ä.png", "e.png", "f.png")


def expected_names():
    return iter([(name, "train") for name in NAMES])


def rows_of(*numbers):
    table = {}
    for number in range(len(NAMES)):
        unsure = "" if number == 5 else ("true", "false")[number % 2]
        novelty = "" if number == 4 else f"{number / 4:.4f}"
        best = (f"class {number // 2}", "0.900000", "other", "0.800000")
        table[number] = [NAMES[number], "train", *best, unsure, novelty]
    return [table[number] for number in numbers]


@pytest.fixture(autouse=True)
def _small_saves(monkeypatch):
    monkeypatch.setattr(prediction_file, "ROWS_BETWEEN_SAVES", 2)


@pytest.fixture
def begun(tmp_path):
    """A function: what the rows are of -> (the file, how many rows are there already).

    The process that wrote the file before has been killed.
    """
    files = []

    def begin(about=ABOUT, name="table.csv", top_k=2, names=None, is_written=True):
        for earlier in files:
            earlier.close()
        file = PredictionFile(tmp_path / name, about, top_k, is_written)
        files.append(file)
        file.resume(names or expected_names())
        file.begin()
        return file, file.tally.images

    return begin


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        names, *table = csv.reader(file)
    assert names == list(prediction_file.COLUMNS)
    return table


def test_a_kill_in_the_middle(begun, tmp_path, log):
    file, count = begun()
    assert count == 0
    file.add(rows_of(0, 1))
    file.add(rows_of(2))  # not saved yet
    partial = tmp_path / "table.csv.partial"
    assert not (tmp_path / "table.csv").exists()
    with open(partial, "a") as broken:
        broken.write('"half a row')  # killed in the middle of a write
    file, count = begun()
    assert count == 2 and "goes on after 2 images" in log.text
    file.add(rows_of(2, 3, 4))
    file.add(rows_of(5))
    file.finish()
    assert read(tmp_path / "table.csv") == rows_of(*range(6))
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
    assert file.tally.text() == (
        "6 images: class 0 (2), class 1 (2), class 2 (2); 3 unsure; "
        "1 unlike anything trained on (novelty > 0.99)"
    )


def test_what_is_of_something_else_is_begun_anew(begun, tmp_path, log):
    file, _ = begun()
    file.add(rows_of(0, 1))
    file, count = begun({**ABOUT, "weights": "other"})
    assert count == 0 and "begun anew: other weights" in log.text
    file.add(rows_of(0, 1))
    other_names = iter([("a.png", "train"), ("other.png", "train")])
    file, count = begun({**ABOUT, "weights": "other"}, names=other_names)
    assert count == 0 and "begun anew: its rows are of other images" in log.text
    for content in ("[]", "{}", "nothing"):
        (tmp_path / "table.csv.partial.json").write_text(content)
        assert begun()[1] == 0


def test_the_older_table_stays_until_the_new_one_is_whole(begun, tmp_path, log):
    (tmp_path / "table.csv").write_text("an older one")
    file, _ = begun()
    assert "table.csv exists: it is replaced when the new one is whole" in log.text
    file.add(rows_of(0, 1, 2))
    assert (tmp_path / "table.csv").read_text() == "an older one"
    file.finish()
    assert read(tmp_path / "table.csv") == rows_of(0, 1, 2)


def test_no_other_table_is_replaced(begun, tmp_path):
    file, _ = begun()
    file.add(rows_of(*range(6)))
    file.finish()
    prediction_file.check(tmp_path / "table.csv")
    labels = tmp_path / "labels.csv"
    labels.write_text("")
    prediction_file.check(labels)
    labels.write_text("file,label\na.png,cat\n")
    message = "no earlier table of this mode, which begins with file,split,class,.*; give another"
    with pytest.raises(UserError, match=f"^--predict_output={labels}: .*{message}"):
        prediction_file.check(labels)


def test_parquet_is_the_table(begun, tmp_path):
    file, _ = begun(name="table.parquet")
    file.add(rows_of(*range(6)))
    file.finish()
    table = parquet.read_table(tmp_path / "table.parquet").to_pydict()
    assert tuple(table) == prediction_file.COLUMNS
    columns = dict(zip(prediction_file.COLUMNS, zip(*rows_of(*range(6)))))
    for name in ("file", "split", "class", "second"):
        assert table[name] == list(columns[name])
    assert table["unsure"] == [True, False, True, False, True, None]
    assert table["novelty"] == [0, 0.25, 0.5, 0.75, None, 1.25]
    for name in ("probability", "margin"):
        np.testing.assert_allclose(table[name], np.array(columns[name], float), rtol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["table.parquet"]


def test_further_columns():
    names = prediction_file.columns(4)
    assert names[8:] == ["class_3", "probability_3", "class_4", "probability_4"]


def test_a_worker_that_does_not_write_only_counts(begun, tmp_path):
    file, _ = begun(is_written=False)
    file.add(rows_of(0, 1, 2))
    file.finish()
    assert file.tally.images == 3 and not list(tmp_path.iterdir())


def test_what_can_not_be_written(begun, tmp_path):
    (tmp_path / "table.csv.partial").mkdir()
    with pytest.raises(UserError, match=r"--predict_output=.*table.csv: it can't be written"):
        begun()


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_parquet_without_its_package(monkeypatch, tmp_path, suffix):
    """Only that kind of file needs pyarrow."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    output = tmp_path / f"file{suffix}"
    if suffix == ".csv":
        prediction_file.check(output)
        return
    with pytest.raises(UserError, match=r"--predict_output=.* pip install pyarrow"):
        prediction_file.check(output)
    with pytest.raises(UserError, match=r"--embeddings=.* pip install pyarrow"):
        embedding_file.read(str(output))


def test_another_process_that_writes_the_same(begun, tmp_path):
    """It would append its rows to those of the first, or replace the whole table with its rest."""
    first, _ = begun()
    first.add(rows_of(0, 1))
    second = PredictionFile(tmp_path / "table.csv", ABOUT, 2, is_written=True)
    with pytest.raises(UserError, match=r"--predict_output=.*table.csv: another process writes"):
        second.resume(expected_names())
    with pytest.raises(UserError, match="another process writes it now"):
        second.begin()
    only_counts = PredictionFile(tmp_path / "table.csv", ABOUT, 2, is_written=False)
    only_counts.resume(expected_names())
    first.add(rows_of(2, 3, 4, 5))
    first.finish()
    assert read(tmp_path / "table.csv") == rows_of(0, 1, 2, 3, 4, 5)
