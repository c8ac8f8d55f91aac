"""What the report and TensorBoard show: images, neighbors, mistakes, views, the projector."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from etils import epath
from sklearn.metrics.pairwise import cosine_similarity

from tests.helpers.configurations import TINY, parse_command_line
from tests.helpers.eager import eagerly
from tests.helpers.evaluation import (
    QUICK,
    document_of,
    measure,
    thumbnails,
    write_report_images,
    write_view_sheet,
)
from tf_simclr import config
from tf_simclr.evaluation import report_images, tensorboard
from tf_simclr.models import resnet
from tf_simclr.report import schema
from tf_simclr.runs import files as run_files
from tf_simclr.training.experiment import build_experiment

WITHOUT_BASELINES = {"untrained_baseline": False}


def positions_of(source, names):
    """Which examples of a source have these names."""
    all_names = source.names_of(np.arange(source.num_examples))
    return [all_names.index(name) for name in names]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """(experiment, what was measured of it, content of results.json)."""
    directory = tmp_path_factory.mktemp("run") / "run"
    flags = {"train_mode": "pretrain", "use_crop": False, "use_flip": False}
    settings = config.build(
        {**TINY, **QUICK, **flags, **WITHOUT_BASELINES, "model_dir": str(directory)}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.FAMILY, 18, (resnet.FAMILY[18][0], (1,)))
        experiment = build_experiment(settings)
    experiment.directory.create()
    with eagerly():
        measured = measure(experiment)
    return experiment, measured, document_of(experiment, measured)


def test_results_json(results):
    """It is what the report reads; its command makes the same run again, and views are shown."""
    experiment, _, document = results
    directory = experiment.directory
    directory.write(run_files.RESULTS, document)
    assert schema.read(directory.path) == json.loads(
        (directory.path / run_files.RESULTS).read_text()
    )
    arguments = document["command"].replace("NEW", str(directory.path)).split()[2:]
    (stage,), _ = parse_command_line(*arguments)
    repeated, original = stage.resolved(), experiment.settings.resolved()
    for name, field in config.fields().items():
        assert not field.fixed or repeated[name] == original[name], name
    views = document["views"]
    assert (views["columns"], views["rows"]) == (3, 8)
    assert len(thumbnails(directory.path, views)) == 24


def test_images_of_the_report(results):
    experiment, measured, document = results
    source, images = measured.data.test, document["images"]
    positions = positions_of(source, images["names"])
    assert images["labels"] == source.labels[positions].tolist()
    sheet = thumbnails(experiment.directory.path, images)
    for index in (0, 17, 127):
        image = experiment.objective.eval_example(tf.constant(source.records[index]), 0)["image"]
        enlarged = np.repeat(np.repeat(image.numpy() * 255, 2, 0), 2, 1)
        assert np.abs(sheet[index] - enlarged).mean() < 6
    assert len(document["map"]["pca"]) == len(document["map"]["tsne"]) == 128
    for mistake in document["mistakes"]:
        predicted = images["predicted"][mistake["image"]]
        assert mistake["label"] != mistake["predicted"] == predicted


def test_neighbors_of_the_report(results):
    _, measured, document = results
    query, *_ = document["neighbors"]
    number = query["query"]
    similarity = cosine_similarity(measured.features.test["final_avg_pool"])[number]
    nearest = [index for index in np.argsort(-similarity) if index != number]
    assert query["neighbors"] == nearest[:8]


@pytest.mark.parametrize(
    "features", [np.zeros([50, 16]), np.ones([50, 16]), np.full([1000, 16], 0.3)]
)
def test_no_map_of_collapsed_features(features):
    """t-SNE of scikit-learn ends the process with them."""
    assert report_images._project(features.astype(np.float32)) == {}


def test_more_images_than_the_map_has(make_experiment, monkeypatch):
    """Those of neighbors and mistakes come after those of the map."""
    monkeypatch.setattr(report_images, "MAX_MAPPED", 20)
    experiment = make_experiment(**WITHOUT_BASELINES)
    measured = measure(experiment)
    content = write_report_images(experiment, measured)
    names = content["images"]["names"]
    assert content["map"]["images"] == list(range(20)) and len(names) > 20
    positions = positions_of(measured.data.test, names)
    assert positions[:20] == report_images.mapped_examples(measured.features).tolist()
    assert len(set(positions)) == len(positions)
    queries = measured.results.details["trained"]["final_avg_pool"]["neighbors"]
    for expected, query in zip(queries, content["neighbors"], strict=True):
        assert positions[query["query"]] == expected["query"]
        neighbors = [positions[number] for number in query["neighbors"]]
        assert neighbors == expected["neighbors"]


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ({"train_mode": "finetune"}, ["view 1"]),
        ({"train_mode": "supervised", "image_size": 40}, ["view 1"]),
        ({"pretext": "jigsaw"}, [f"view {number}" for number in range(1, 10)]),
    ],
)
def test_views_of_other_objectives(make_experiment, flags, names):
    """Beside each image what the training makes of it."""
    experiment = make_experiment(**flags)
    views = write_view_sheet(experiment)
    columns = 1 + len(names)
    assert (views["columns"], views["rows"]) == (columns, 8)
    assert views["names"] == ["image", *names]
    shape = (8 * columns, views["size"], views["size"], 3)
    assert thumbnails(experiment.directory.path, views).shape == shape


def test_what_is_beyond_white_and_black_is_clipped():
    """As standardized tiles are; however many pixels there are."""
    values = np.linspace(-3, 3, 11 * 11 * 3, dtype=np.float32).reshape(11, 11, 3)
    pixels = report_images._thumbnail(tf.constant(values), 11)
    np.testing.assert_array_equal(pixels, np.rint(255 * values.clip(0, 1)))


def test_tensorboard(make_experiment):
    """Metrics, hyperparameters, and a projector whose files agree with one another."""
    from google.protobuf import text_format
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins import projector

    experiment = make_experiment(**WITHOUT_BASELINES)
    measured = measure(experiment)
    tags = measured.results.flat()
    tensorboard.write_events(
        experiment.directory.path,
        settings=experiment.settings,
        step=3,
        metrics=tags,
        features=measured.features,
        report_images=write_report_images(experiment, measured),
    )
    directory = experiment.directory.path / run_files.EVAL_EVENTS
    events = EventAccumulator(str(directory)).Reload()
    assert set(tags) <= set(events.Tags()["tensors"])
    assert events.PluginTagToContent("hparams")
    metadata = events.SummaryMetadata("_hparams_/session_start_info")
    hyperparameters = metadata.plugin_data.content
    assert b"learning_rate" in hyperparameters and b"knn_k" not in hyperparameters
    text = (directory / run_files.PROJECTOR_CONFIG).read_text()
    (embedding,) = text_format.Parse(text, projector.ProjectorConfig()).embeddings
    vectors = np.loadtxt(directory / embedding.tensor_path)
    test = measured.features.test
    np.testing.assert_allclose(vectors, test["final_avg_pool"], rtol=1e-4, atol=1e-5)
    header, first, *rest = (directory / embedding.metadata_path).read_text().splitlines()
    assert 1 + len(rest) == len(vectors) and header.startswith("label\t")
    assert first.split("\t")[0] == str(test["label"][0])
    sprite = embedding.sprite
    sheet = tf.io.decode_jpeg((directory / sprite.image_path).read_bytes())
    num_pixels = len(vectors) * np.prod(sprite.single_image_dim)
    assert sheet.shape[0] * sheet.shape[1] >= num_pixels


def test_files_are_replaced_by_whole_ones(results, tmp_path):
    """Who reads an earlier one meanwhile, or after a full disk, has it as it was."""
    _, measured, document = results
    folder, earlier = epath.Path(tmp_path / "new"), tmp_path / "earlier"
    folder.mkdir()
    earlier.mkdir()
    names = (
        run_files.REPORT_IMAGES,
        run_files.REPORT_VIEWS,
        run_files.PROJECTOR_CONFIG,
        run_files.PROJECTOR_FEATURES,
        run_files.PROJECTOR_METADATA,
    )
    for name in names:
        (folder / name).write_text("earlier")
        os.link(folder / name, earlier / name)
    tensorboard._write_projector(folder, b"sheet", measured.features, document["images"])
    report_images._write_sheet(folder / run_files.REPORT_VIEWS, np.zeros([1, 8, 8, 3], np.uint8), 1)
    assert {path.name for path in folder.iterdir()} == set(names)
    for name in names:
        assert (earlier / name).read_text() == "earlier"
        assert (folder / name).read_bytes() != b"earlier"
