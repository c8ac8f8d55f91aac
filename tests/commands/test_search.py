"""The images that are most like some: the table, the page, stored embeddings, bad queries."""

import csv
import json
import re
import shutil

import numpy as np
import pyarrow
import pytest
import tensorflow as tf
from etils import epath
from PIL import Image

import tf_simclr
from tf_simclr.commands import embed, embedding_file, search, search_page
from tf_simclr.config import Config
from tf_simclr.data import datasets
from tf_simclr.errors import UserError

pytestmark = pytest.mark.usefixtures("shallow", "eager")


class ByColor:
    """An extractor whose features are the mean colors of the corners of an image."""

    def __init__(self, settings, alone=True):
        self.data, self.strategy = settings.data, tf.distribute.get_strategy()
        split = settings.embed.embed_split
        self.splits = [split] if split else list(datasets.splits(self.data))

    def load(self, split, flag):
        return datasets.load(self.data, split, flag)

    def compute(self, source, what):
        images = [np.asarray(source.decode(record)) for record in source.records]
        features = [color_features(image) for image in images]
        return {"label": source.labels, "final_avg_pool": np.float32(features)}


def color_features(image):
    corners = [image[:3, :3], image[:3, -3:], image[-3:, :3], image[-3:, -3:]]
    return np.concatenate([corner.mean((0, 1)) for corner in corners]) - 127


def output_of(directory):
    """The lines of search.csv and the content of search.html."""
    with open(directory / "search.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    page = (directory / "search.html").read_text()
    content = re.search(r'id="content">(.*?)</script>', page)[1]
    return lines, json.loads(content)


@pytest.fixture
def find(settings, photos, tmp_path, monkeypatch):
    """A function: queries, flags -> `output_of` a search by color."""
    monkeypatch.setattr(search, "build_extractor", ByColor)

    def call(query, **flags):
        values = {"dataset": f"folder:{photos}", "search_count": 4, **flags}
        search.search(settings(mode="search", query=str(query), **values))
        return output_of(tmp_path / "run")

    return call


def names_of(photos):
    return sorted(file.relative_to(photos).as_posix() for file in photos.rglob("*.png"))


def ranked(names, features, wanted):
    """[(file, cosine)] of all images, the most similar first."""
    pairs = []
    for name, feature in zip(names, features):
        cosine = feature @ wanted / np.linalg.norm(feature) / np.linalg.norm(wanted)
        pairs.append((name, cosine))
    return sorted(pairs, key=lambda pair: -pair[1])


@pytest.fixture
def stored(photos, tmp_path):
    """A function: ending -> a file as --mode=embed writes it, for the photos in another order."""

    def make(suffix):
        names = names_of(photos)[::-1]
        features = [color_features(np.asarray(Image.open(photos / name))) for name in names]
        columns = {
            "name": np.array(names),
            "split": np.array(["validation" if "/0" in name else "train" for name in names]),
            "label": np.array([name.rpartition("/")[0] for name in names]),
            "embedding": np.float32(features),
        }
        embed.WRITERS[suffix](columns, epath.Path(tmp_path / f"stored{suffix}"))
        return tmp_path / f"stored{suffix}"

    return make


def check(lines, expected):
    assert [line["file"] for line in lines] == [name for name, _ in expected]
    cosines = [float(line["cosine"]) for line in lines]
    np.testing.assert_allclose(cosines, [cosine for _, cosine in expected], atol=1e-4)


def test_with_a_network(settings, model, photos, tmp_path, rng):
    """A file that is not in the set, and the path of an image of the set."""
    query = tmp_path / "query.png"
    Image.fromarray(rng.integers(0, 256, (20, 10, 3), dtype=np.uint8)).save(query)
    path, inside = model(2), photos / "dog" / "1.png"
    flags = {"dataset": f"folder:{photos}", "checkpoint": path, "search_count": 4}
    search.search(settings(mode="search", query=f"{query}, {inside}", **flags))
    lines, content = output_of(tmp_path / "run")
    names = names_of(photos)
    *features, wanted = tf_simclr.load(path).embed([*(photos / name for name in names), query])
    check(lines[:4], ranked(names, features, wanted)[:4])
    others = ranked(names, features, features[names.index("dog/1.png")])
    assert others[0][0] == "dog/1.png"  # an image is not found as its own neighbor
    check(lines[4:], others[1:5])
    assert [line["rank"] for line in lines] == list("12341234")
    assert len(content["names"]) == 14 and content["count"] == 13
    for number, first in enumerate(content["queries"]):
        files = [content["names"][image] for image in first["neighbors"]]
        assert files == [line["file"] for line in lines[4 * number : 4 * number + 4]]
    assert [content["names"][each["image"]] for each in content["queries"]] == [
        str(query),
        "dog/1.png",
    ]
    assert {line["split"] for line in lines} <= {"train", "validation"}
    assert all(line["label"] == line["file"].rpartition("/")[0] for line in lines)


def test_a_name_with_a_comma(find, photos):
    (photos / "cat/3.png").rename(photos / "cat/3, dog.png")
    lines, _ = find("cat/3, dog.png")
    assert {line["query"] for line in lines} == {"cat/3, dog.png"}
    lines, _ = find(photos / "cat/3, dog.png")
    assert len(lines) == 4


def test_a_name_with_a_line_break(find, photos, log):
    """It stays in its line of the table in the log."""
    name = "cat/3\n02:00:00 all is well.png"
    (photos / "cat/3.png").rename(photos / name)
    find(name)
    (table,) = {message for message in log.messages if message.startswith("most similar")}
    assert "| cat/3 02:00:00 all is well.png |" in table


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_stored_embeddings(find, stored, photos, suffix, monkeypatch):
    """They give the same; weights are needed for other files alone, images for thumbnails."""
    expected, content = find("cat/3.png")
    shape_of = dict(zip(content["names"], zip(content["shapes"][::2], content["shapes"][1::2])))
    path = stored(suffix)
    monkeypatch.delattr(search, "build_extractor")

    def check_again():
        lines, page = find("cat/3.png", embeddings=str(path))
        for line, other in zip(lines, expected, strict=True):
            assert {**line, "split": ""} == {**other, "split": ""}
        return dict(zip(page["names"], zip(page["shapes"][::2], page["shapes"][1::2])))

    assert check_again() == shape_of
    shutil.rmtree(photos / "dog")
    for name, shape in check_again().items():
        assert shape == ((0, 0) if name.startswith("dog/") else shape_of[name])
    shutil.rmtree(photos)
    assert set(check_again().values()) == {(0, 0)}


def test_columns_of_lists_are_read_as_they_are():
    """In several chunks, with no object of Python for each number; of one length only."""
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    chunks = [pyarrow.array(list(rows[:4])), pyarrow.array(list(rows[4:]))]
    values = embedding_file._as_array(pyarrow.chunked_array(chunks))
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, rows)
    for uneven in ([[1.0, 2.0], [3.0]], [[1.0, 2.0], None], [[1.0], [2.0, 3.0, 4.0]]):
        with pytest.raises(ValueError, match="not all of the same length"):
            embedding_file._as_array(pyarrow.chunked_array([pyarrow.array(uneven)]))


def test_the_split_of_stored_embeddings(find, stored):
    path = str(stored(".npz"))
    lines, content = find("cat/3.png", embeddings=path, embed_split="train")
    assert {line["split"] for line in lines} == {"train"} and content["count"] == 11
    with pytest.raises(UserError, match=r"--embed_split=x: .* no such split, only train, valid"):
        find("cat/3.png", embeddings=path, embed_split="x")


def test_a_set_that_is_too_large_for_a_page(find, monkeypatch, log):
    monkeypatch.setattr(search_page, "MAX_IMAGES", 10)
    monkeypatch.setattr(search_page, "SIDES", {10: 64})
    lines, content = find("cat/3.png", search_count=3)
    expected = {"cat/3.png", *(line["file"] for line in lines)}
    assert len(lines) == 3 and set(content["names"]) == expected
    assert len(content["known"]) == 12  # of images that are not in the page, too
    first = content["queries"][0]
    names = [content["names"][image] for image in first["neighbors"]]
    assert names == [line["file"] for line in lines]
    assert "the 4 images that were found of 13" in log.text


def test_more_images_than_there_are(find):
    assert len(find("cat/3.png", search_count=50)[0]) == 12


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("gone.png", "--query=gone.png: no such file, and no image of the set has this name"),
        ("cat/33.png", "Did you mean 'cat/3.png'"),
        ("{photos}/cat", "--query=.*: it is a folder"),
        ("{photos}/broken.jpg", "--query=.*broken.jpg: not an image that can be read"),
        ("{photos}/empty.png,cat/3.png", "--query=.*empty.png: not an image that can be read"),
    ],
)
def test_bad_queries(find, photos, query, message, monkeypatch):
    """One line, before any image is embedded."""
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no image")
    (photos / "empty.png").touch()
    monkeypatch.delattr(search.search_set, "compute")
    with pytest.raises(UserError, match=message):
        find(query.format(photos=photos))


def write_npz(path, **columns):
    with open(path, "wb") as file:
        np.savez(file, **columns)


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("gone.npz", None, r"gone.npz: it can't be read \(No such file"),
        ("bad.npz", b"no archive", "bad.npz: it can't be read"),
        ("bad.parquet", b"no table", "bad.parquet: it can't be read"),
        ("bad.txt", b"", "bad.txt: accepted are files of --mode=embed in .npz and .parquet"),
        ("bad.npz", {"name": ["a"]}, "bad.npz: it has no column embedding"),
        ("bad.npz", {"name": ["a"], "embedding": [1.0]}, r"shape \[1\]"),
        ("bad.npz", {"name": ["a", "b"], "embedding": [[1.0]]}, r"N=2 .* shape \[1, 1\]"),
        ("bad.npz", {"name": ["a"], "embedding": np.array([[{}]])}, "bad.npz: it can't be read"),
        ("bad.npz", {"name": ["a"], "embedding": [[np.nan]]}, "1 of 1 images are not finite"),
    ],
)
def test_bad_embeddings(find, tmp_path, name, columns, message):
    path = tmp_path / name
    if isinstance(columns, bytes):
        path.write_bytes(columns)
    elif columns is not None:
        write_npz(path, **columns)
    with pytest.raises(UserError, match=message):
        find("a", embeddings=str(path))


def test_embeddings_of_other_weights(find, photos, tmp_path, rng):
    write_npz(tmp_path / "other.npz", name=["a", "b"], embedding=np.eye(2))
    query = tmp_path / "query.png"
    shutil.copy(photos / "other.png", query)
    with pytest.raises(UserError, match=r"they have 2 numbers an image and these weights make"):
        find(query, embeddings=str(tmp_path / "other.npz"))


def test_a_query_is_needed(settings):
    with pytest.raises(UserError, match="--query=: --mode=search looks for"):
        settings(mode="search", query=" ")


def test_the_table_of_the_page_keeps_all_labels(find, photos):
    """Also those of splits that are not searched, and of images that the page does not have."""
    _, content = find(photos / "cat" / "3.png", embed_split="validation")
    folders = {name: name.rpartition("/")[0] for name in names_of(photos)}
    known = {name: label for name, label in folders.items() if label}
    assert dict(content["known"]) == known and len(known) > len(content["names"])


def test_numbers_that_two_images_have_are_not_in_the_table(find):
    """The images of both splits of digits are called 0, 1, 2, ..."""
    _, content = find("1400", dataset="digits", search_count=1)
    options = Config().replace(dataset="digits").data
    train = datasets.load(options, "train")
    num_test = datasets.load(options, "test").num_examples
    numbers = [int(name) for name, _ in content["known"]]
    assert numbers == list(range(num_test, train.num_examples))
    labels = [train.class_names[label] for label in train.example_ids()[1][num_test:]]
    assert [label for _, label in content["known"]] == labels
