"""Embeddings of images in a file, with predictions and neighbors."""

import errno
import json

import numpy as np
import pytest
from etils import epath
from pyarrow import parquet

import tf_simclr
from tf_simclr.checkpoints import pretrained
from tf_simclr.commands import embed
from tf_simclr.curation import neighbors
from tf_simclr.data import scan_cache

pytestmark = pytest.mark.usefixtures("shallow", "eager")


def slow_neighbors(embeddings, count):
    """The cosines of the nearest others of each embedding."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    nearest = []
    for query, embedding in enumerate(unit):
        others = np.delete(unit, query, 0)
        nearest.append(np.sort(others @ embedding)[::-1][:count])
    return np.array(nearest)


def embed_folder(settings, photos, path, output="", **flags):
    flags = {"dataset": f"folder:{photos}", "checkpoint": path, **flags}
    embed.embed(settings(embed_output=str(output), **flags))


def test_the_split_is_that_of_the_run(settings, model, photos, tmp_path):
    """Of six images in each class a run has held out others than would be held out by default."""
    path = model(2)
    digests = {
        scan_cache.content_digest(file.read_bytes()): file.name in ("0.png", "1.png")
        for file in photos.glob("*/*.png")
    }
    run_directory = tmp_path / "exported"
    content = {"dataset": f"folder:{photos}", "moved": digests}
    (run_directory / "division.json").write_text(json.dumps(content))
    embed_folder(settings, photos, path, tmp_path / "file.npz")
    with np.load(tmp_path / "file.npz") as file:
        held_out = file["name"][file["split"] == "validation"]
    assert sorted(held_out) == ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"]


def test_a_folder(settings, model, photos, tmp_path):
    path = model(10)
    output = tmp_path / "out" / "file.npz"
    embed_folder(settings, photos, path, output, embed_neighbors=4)
    with np.load(output) as file:
        columns = dict(file)
    names = columns["name"]
    files = {file.relative_to(photos).as_posix() for file in photos.rglob("*.png")}
    assert len(names) == 13 and set(names) == files
    assert set(columns["split"]) == {"train", "validation"}
    folders = [name.rpartition("/")[0] for name in names]
    assert list(columns["label"]) == folders  # that of other.png is empty
    loaded = tf_simclr.load(path)
    images = [str(photos / name) for name in names]
    np.testing.assert_allclose(columns["embedding"], loaded.embed(images), rtol=1e-4, atol=1e-5)
    probabilities = loaded.predict(images)
    predicted = ["abcdefghij"[label] for label in probabilities.argmax(1)]
    assert list(columns["predicted"]) == predicted
    np.testing.assert_allclose(columns["score"], probabilities.max(1), rtol=1e-4)
    check_neighbors(columns)
    check_parquet(settings, photos, path, tmp_path, columns)


def check_neighbors(columns):
    embeddings, nearest = columns["embedding"], columns["neighbors"]
    similarity = columns["similarity"]
    np.testing.assert_allclose(similarity, slow_neighbors(embeddings, 4), atol=1e-5)
    queries = np.arange(13)[:, None]
    assert np.all(nearest != queries)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosines = (unit[queries] * unit[nearest]).sum(-1)
    np.testing.assert_allclose(cosines, similarity, atol=1e-5)


def check_parquet(settings, photos, path, tmp_path, columns):
    """The same columns in the other format."""
    output = tmp_path / "out" / "file.parquet"
    embed_folder(settings, photos, path, output, embed_neighbors=4)
    table = parquet.read_table(output)
    assert set(table.column_names) == set(columns)
    for name, column in zip(table.column_names, table.columns):
        values = np.array(column.to_pylist())
        if values.dtype.kind == "f":
            np.testing.assert_allclose(values, columns[name], rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(values, columns[name])


def test_without_classes_and_neighbors(settings, model, photos, tmp_path):
    embed_folder(settings, photos, model(0), embed_neighbors=0, embed_split="validation")
    with np.load(tmp_path / "run" / "embeddings.npz") as columns:
        assert set(columns) == {"name", "split", "label", "embedding"}
        assert set(columns["split"]) == {"validation"}


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path, monkeypatch):
    output = epath.Path(tmp_path / "file.npz")
    embed._write({"name": np.array(["a.png"])}, output)

    def fill_the_disk(columns, path):
        path.write_text("the first part")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(embed.WRITERS, ".npz", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        embed._write({"name": np.array(["b.png"])}, output)
    with np.load(output) as columns:
        assert list(columns["name"]) == ["a.png"]
    assert list(tmp_path.iterdir()) == [tmp_path / "file.npz"]


def test_the_logged_table_has_a_line_for_each_image():
    """Whatever the names of the images are."""
    columns = {"name": ["a\nb|c.png", "d\re.png"], **embed.nearest_neighbors(np.ones([2, 1]), 1)}
    header, _, *lines = embed._table(columns).splitlines()
    assert header == "| image      | most similar (cosine) |"
    assert lines == ["| a b\\|c.png | d e.png (1.00) |", "| d e.png    | a b\\|c.png (1.00) |"]


@pytest.mark.parametrize(("num_images", "shape"), [(3, (3, 2)), (1, (1, 0))])
def test_more_neighbors_than_images(num_images, shape):
    columns = embed.nearest_neighbors(np.eye(num_images, dtype=np.float32), 8)
    assert columns["neighbors"].shape == shape


def test_neighbors_of_many_images(rng, log, monkeypatch):
    """They are looked for in cells; where these have too few, the others are -1."""
    monkeypatch.setattr(neighbors, "MAX_EXACT", 200)
    embeddings = rng.normal(size=(400, 4)).astype(np.float32)
    columns = embed.nearest_neighbors(embeddings, 3)
    assert "nearest neighbors of 400 images, more than 200" in log.text
    is_exact = np.isclose(columns["similarity"], slow_neighbors(embeddings, 3), atol=1e-5)
    assert is_exact.mean() > 0.95
    with_more = {"name": np.arange(400), **embed.nearest_neighbors(embeddings, 399)}
    assert (with_more["neighbors"] == neighbors.NOWHERE).any()
    assert "inf" not in embed._table(with_more)


def test_weights_of_the_run_or_of_another_checkpoint(settings, tmp_path):
    """Those of the run directory, unless another checkpoint is named than the run's own start."""
    start, other = str(tmp_path / "start"), str(tmp_path / "other")
    options = settings(checkpoint=start)
    with_other = options.replace(checkpoint=other)
    of_the_run = (str(tmp_path / "run"), "model_dir")
    assert pretrained.weights_path(options) == (start, "checkpoint")  # there is no run yet
    saved_flags = tmp_path / "run" / "flags.json"
    saved_flags.parent.mkdir()
    saved_flags.write_text(json.dumps(options.flat()))
    assert pretrained.weights_path(options) == of_the_run
    assert pretrained.weights_path(options.replace(checkpoint="")) == of_the_run
    assert pretrained.weights_path(with_other) == (other, "checkpoint")
    assert pretrained.weights_path(with_other, alone=False) == of_the_run
    # An evaluation of weights from elsewhere:
    saved_flags.write_text(json.dumps(options.replace(mode="eval").flat()))
    assert pretrained.weights_path(options) == (start, "checkpoint")
    # A stage that has not begun:
    saved_flags.unlink()
    assert pretrained.weights_path(options, alone=False) == of_the_run
