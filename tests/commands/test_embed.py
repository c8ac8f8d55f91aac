"""Embeddings of images in a file, with predictions and neighbours."""

import json

import numpy as np
import pytest
from etils import epath
from PIL import Image
from pyarrow import parquet

import tf_simclr
from tf_simclr.checkpoints import pretrained
from tf_simclr.commands import embed
from tf_simclr.export import exporter, model_card
from tf_simclr.models.network import Network

pytestmark = pytest.mark.usefixtures("shallow")


@pytest.fixture
def model(settings, tmp_path):
    """A function: number of classes -> path of the export of a network."""

    def make(num_classes):
        network = Network(settings(), num_classes)
        network.build_variables()
        about = model_card.ModelDescription(
            network.settings, tuple("abcdefghij"[:num_classes]), 1, {}, {}
        )
        exporter.export(network, about, epath.Path(tmp_path / "of"), network.settings.export)
        return str(tmp_path / "of" / "saved_model" / "1")

    return make


@pytest.fixture
def photos(tmp_path, rng):
    """A folder of 12 images in two classes and one beside them."""
    for name in [f"{kind}/{i}.png" for kind in ("cat", "dog") for i in range(6)] + ["other.png"]:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def slow_neighbors(embeddings, count):
    found = []
    for i, a in enumerate(embeddings):
        cosines = [
            (float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), j)
            for j, b in enumerate(embeddings)
            if j != i
        ]
        found.append([value for value, _ in sorted(cosines, reverse=True)[:count]])
    return np.array(found)


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_a_folder(settings, model, photos, tmp_path, ending):
    path = model(10)
    output = tmp_path / "out" / f"file{ending}"
    embed.embed(
        settings(
            dataset=f"folder:{photos}", checkpoint=path, embed_output=str(output), embed_neighbors=4
        )
    )
    if ending == ".npz":
        with np.load(output) as file:
            found = dict(file)
    else:
        found = {
            name: np.array(column.to_pylist())
            for name, column in zip(
                parquet.read_table(output).column_names, parquet.read_table(output).columns
            )
        }
    assert sorted(found["name"]) == sorted(
        file.relative_to(photos).as_posix() for file in photos.rglob("*.png")
    )
    assert set(found["split"]) == {"train", "validation"}
    assert list(found["label"]) == [
        "" if name == "other.png" else name.split("/")[0] for name in found["name"]
    ]
    files = [str(photos / name) for name in found["name"]]
    model_of_the_package = embed_of(path, files)
    np.testing.assert_allclose(found["embedding"], model_of_the_package[0], rtol=1e-4, atol=1e-5)
    probabilities = model_of_the_package[1]
    assert list(found["predicted"]) == ["abcdefghij"[i] for i in probabilities.argmax(1)]
    np.testing.assert_allclose(found["score"], probabilities.max(1), rtol=1e-4)
    np.testing.assert_allclose(
        found["similarity"], slow_neighbors(found["embedding"], 4), atol=1e-5
    )
    rows = np.arange(13)[:, None]
    assert np.all(found["neighbors"] != rows)
    unit = found["embedding"] / np.linalg.norm(found["embedding"], axis=1, keepdims=True)
    np.testing.assert_allclose(
        (unit[rows] * unit[found["neighbors"]]).sum(-1), found["similarity"], atol=1e-5
    )


def embed_of(path, files):
    """(embeddings, probabilities) by `tf_simclr.load`."""
    loaded = tf_simclr.load(path)
    return loaded.embed(files), loaded.predict(files)


def test_without_classes_and_neighbors(settings, model, photos, tmp_path):
    path = model(0)
    embed.embed(
        settings(
            dataset=f"folder:{photos}", checkpoint=path, embed_neighbors=0, embed_split="validation"
        )
    )
    with np.load(tmp_path / "run" / "embeddings.npz") as found:
        assert set(found) == {"name", "split", "label", "embedding"} and set(found["split"]) == {
            "validation"
        }


def test_more_neighbors_than_images():
    columns = embed.neighbors(np.eye(3, dtype=np.float32), 8)
    assert columns["neighbors"].shape == (3, 2)
    assert embed.neighbors(np.eye(1, dtype=np.float32), 8)["neighbors"].shape == (1, 0)


def test_which_weights_are_meant(settings, tmp_path):
    """Those of the run directory, unless another checkpoint is named than the run's own start."""
    run, other = settings(checkpoint=str(tmp_path / "start")), str(tmp_path / "other")
    assert pretrained.weights_path(run) == (
        str(tmp_path / "start"),
        "checkpoint",
    )  # there is no run yet
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "flags.json").write_text(json.dumps(run.flat()))
    assert pretrained.weights_path(run) == (str(tmp_path / "run"), "model_dir")
    assert pretrained.weights_path(run.replace(checkpoint="")) == (
        str(tmp_path / "run"),
        "model_dir",
    )
    assert pretrained.weights_path(run.replace(checkpoint=other)) == (other, "checkpoint")
    assert pretrained.weights_path(run.replace(checkpoint=other), alone=False) == (
        str(tmp_path / "run"),
        "model_dir",
    )
    (tmp_path / "run" / "flags.json").write_text(
        json.dumps(run.replace(mode="eval").flat())
    )  # an evaluation of weights from elsewhere
    assert pretrained.weights_path(run) == (str(tmp_path / "start"), "checkpoint")
    (tmp_path / "run" / "flags.json").unlink()
    assert pretrained.weights_path(run, alone=False) == (
        str(tmp_path / "run"),
        "model_dir",
    )  # a stage that has not begun
