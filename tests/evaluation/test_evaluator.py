"""From an experiment to metrics: features, baselines, what is kept on disk and in the report."""

import dataclasses
import itertools
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics.pairwise import cosine_similarity

from tests.helpers.configurations import parse_command_line
from tf_simclr import config, distribute, report
from tf_simclr.checkpoints import pretrained
from tf_simclr.commands import evaluate, transfer
from tf_simclr.config import recipes
from tf_simclr.config.sections import DataConfig
from tf_simclr.data import datasets, mixture, pipeline
from tf_simclr.errors import UserError
from tf_simclr.evaluation import (
    evaluator,
    features,
    metrics,
    pretext_accuracy,
    report_images,
    results_json,
    tensorboard,
)
from tf_simclr.evaluation.feature_store import FeatureStore, in_memory
from tf_simclr.evaluation.metrics.base import Examples
from tf_simclr.evaluation.results import Results
from tf_simclr.report import schema
from tf_simclr.runs import files as run_files
from tf_simclr.training.experiment import build_experiment

pytestmark = pytest.mark.usefixtures("shallow")
QUICK = {"mode": "train_then_eval", "labels_per_class": 3, "eval_batch_size": 64, "eval_steps": 2}


@pytest.fixture
def experiment(settings):
    """A function: flags -> an experiment in a run directory that exists."""

    def make(**values):
        made = build_experiment(settings(**{**QUICK, **values}))
        made.directory.create()
        return made

    return make


def measured(experiment, names=None):
    findings, rows = evaluator.measure(experiment, evaluator.data(experiment), names)
    return findings, rows


def images_of(experiment, source):
    return tf.stack(
        [
            experiment.objective.eval_example(tf.constant(image), 0)["image"]
            for image in source.records
        ]
    )


def test_all_networks_and_layers(experiment):
    """The metrics are those of features computed one layer at a time, in inference mode."""
    made = experiment(eval_layers="all")
    findings, rows = measured(made)
    data = evaluator.data(made)
    assert (data.train.num_examples, data.test.num_examples) == (30, 128)
    untrained = made.make_objective()
    layers = ["block_group1", "final_avg_pool", "proj_head_1", "proj_head_2", "proj_head_3"]
    assert {network: sorted(places) for network, places in findings.figures.items()} == {
        "trained": sorted(["classifier", *layers]),
        "untrained": sorted(layers),
        "pixels": ["pixels"],
    }
    for network, objective in (
        ("trained", made.objective),
        ("untrained", untrained),
        ("pixels", None),
    ):
        both = []
        for source in (data.train, data.test):
            images = images_of(made, source)
            outputs = (
                {"pixels": tf.reshape(images, [len(images), -1])}
                if objective is None
                else objective.layer_features(images)
            )
            both.append((outputs, source.labels))
        place = "pixels" if objective is None else "proj_head_2"
        train, test = (Examples(outputs[place].numpy(), labels) for outputs, labels in both)
        for name in ("knn", "clustering", "retrieval"):
            expected = metrics.run(name, train, test, made.settings.eval)[0]
            assert {
                figure: findings.figures[network][place][figure] for figure in expected
            } == pytest.approx(expected, abs=0.02)
        if network == "trained":
            np.testing.assert_allclose(rows.test[place], test.features, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(
                rows.test["logits_sup"], outputs["logits_sup"], rtol=1e-4, atol=1e-5
            )
    assert (
        findings.flat()["eval/proj_head_2/knn_accuracy"]
        == findings.figures["trained"]["proj_head_2"]["knn_accuracy"]
    )
    assert (
        findings.flat()["eval/label_top_1_accuracy"]
        == findings.figures["trained"]["classifier"]["label_top_1_accuracy"]
    )
    assert "untrained/knn_accuracy" in findings.flat() and "pixels/knn_accuracy" in findings.flat()
    assert not findings.left_out


def test_layers_of_a_network(experiment):
    """Feature maps as their mean over space, each layer of the head, and the logits."""
    made = experiment(ft_proj_selector=1)
    images = tf.random.stateless_uniform([2, 16, 16, 3], [1, 2])
    found, endpoints = made.objective.layer_features(images), made.objective(images)
    np.testing.assert_allclose(
        found["block_group1"], tf.reduce_mean(endpoints["block_group1"], [1, 2]), rtol=1e-5
    )
    np.testing.assert_allclose(found["proj_head_3"], endpoints["proj_head_output"], rtol=1e-5)
    for name in ("final_avg_pool", "logits_sup"):
        np.testing.assert_allclose(found[name], endpoints[name], rtol=1e-5)
    np.testing.assert_allclose(
        found["logits_sup"], made.objective.supervised_head(found["proj_head_1"]), rtol=1e-5
    )


@pytest.mark.parametrize("replicas", [1, 2])
def test_features_of_all_examples_in_order(settings, two_replicas, replicas, monkeypatch):
    """Inference mode, the last partial batch included, nothing twice; views are always the same."""
    options = settings()
    strategy = two_replicas if replicas == 2 else tf.distribute.get_strategy()
    monkeypatch.setattr(distribute, "strategy", lambda hardware: strategy)
    made = build_experiment(options)
    source = datasets.load(options.data, "test").take(np.arange(21))
    function = features.layer_features(made.objective, ["final_avg_pool"])
    rows = features.feature_mapper(function, made.objective.eval_example, 8, strategy)(
        source, "test"
    )
    np.testing.assert_array_equal(rows["label"], source.labels)
    np.testing.assert_allclose(
        rows["final_avg_pool"],
        made.objective(images_of(made, source))["final_avg_pool"],
        rtol=1e-4,
        atol=1e-6,
    )
    views = features.feature_mapper(
        features.view_features(features.pixel_features, options.augment),
        features.two_views(options),
        8,
        strategy,
    )
    some, all_of_them = (
        views(source.take(index), "views")["pixels"] for index in (np.array([3, 20]), np.arange(21))
    )
    assert all_of_them.shape == (21, 2, 16 * 16 * 3)
    np.testing.assert_array_equal(some, all_of_them[[3, 20]])
    assert (all_of_them[:, 0] != all_of_them[:, 1]).any(1).all()


def test_pixels_are_reduced():
    images = np.random.default_rng(0).random([2, 64, 64, 3]).astype(np.float32)
    expected = images.reshape(2, 16, 4, 16, 4, 3).mean((2, 4)).reshape(2, -1)
    np.testing.assert_allclose(
        features.pixel_features(tf.constant(images))["pixels"], expected, rtol=1e-5
    )


def test_the_same_figures_again(experiment, tmp_path):
    """With what was kept, and without it."""
    first = measured(experiment())[0]
    assert sorted(path.name for path in (tmp_path / "run/features").iterdir()) == [
        "test",
        "train",
        "views",
    ]
    assert dataclasses.asdict(measured(experiment())[0]) == dataclasses.asdict(first)
    shutil.rmtree(tmp_path / "run/features")
    (tmp_path / "run" / evaluator.BASELINES).unlink()
    assert dataclasses.asdict(measured(experiment())[0]) == dataclasses.asdict(first)


def test_features_are_computed_once(experiment, monkeypatch):
    """As long as weights, examples and layers are the same; baselines likewise."""
    made, computed = experiment(evaluations="knn"), []
    monkeypatch.setattr(
        evaluator.features.pipeline,
        "evaluation",
        _noting(evaluator.features.pipeline.evaluation, computed),
    )

    def parts(names=None, **values):
        computed.clear()
        measured(experiment(**{"evaluations": "knn", **values}) if values else made, names)
        return computed

    assert parts() == ["train", "test"]
    assert parts() == []
    assert parts(evaluations="classifier") == []
    assert parts(knn_k=3) == ["train", "test"]  # for the baselines
    assert parts() == ["train", "test"]
    made.objective.supervised_head.bias.assign_add(tf.ones(10))
    assert parts() == ["train", "test"]
    assert parts(eval_steps=1) == ["train", "test"]


def _noting(function, computed):
    def noting(source, *arguments):
        computed.append(source.split)
        return function(source, *arguments)

    return noting


def test_other_examples_have_another_fingerprint(tmp_path):
    data = DataConfig(dataset="digits")
    source = datasets.load(data, "test")
    changed = source.records.copy()
    changed[3, 2, 2, 0] += 1
    others = [
        source.take(np.arange(5)),
        source.without_labels(),
        dataclasses.replace(source, records=changed),
        datasets.load(data, "train"),
    ]
    assert len({one.fingerprint() for one in [source, *others]}) == 5
    assert source.fingerprint() == datasets.load(data, "test").fingerprint()
    tf.io.write_file(str(tmp_path / "a/1.png"), tf.io.encode_png(source.records[0]))
    tf.io.write_file(str(tmp_path / "b/1.png"), tf.io.encode_png(source.records[1]))
    folder = DataConfig(dataset=f"folder:{tmp_path}")
    before = datasets.load(folder, "train").fingerprint()
    tf.io.write_file(str(tmp_path / "a/1.png"), tf.io.encode_png(source.records[2]))
    assert datasets.load(folder, "train").fingerprint() != before


def test_examples_of_a_stream_are_picked(tmp_path):
    """By position, without decoding the others."""
    source = datasets.load(DataConfig(dataset="digits"), "test")
    from tf_simclr.data.source import Streamed

    def read(context):
        return tf.data.Dataset.from_tensor_slices(
            ([str(i) for i in range(360)], source.records, source.labels)
        )

    stream = Streamed("digits", "test", source.class_names, source.decode, read, 360, 360)
    index = np.array([3, 50, 359])
    for one in (source, stream):
        picked = list(one.pick(index).as_numpy_iterator())
        np.testing.assert_array_equal([record for record, _ in picked], source.records[index])
        assert [label for _, label in picked] == source.labels[index].tolist()
        assert one.names_of(index) == ["3", "50", "359"]


def test_what_can_not_be_kept_is_computed(tmp_path, monkeypatch, log):
    store, calls = FeatureStore(tmp_path), []

    def compute(make=in_memory):
        calls.append(1)
        rows = make("trained.h", (3, 2), np.float32)
        rows[:] = 1
        return {"trained.h": rows}

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    assert store.keep("test", "asked", compute, lambda name: True)["trained.h"].sum() == 6
    assert "the features are not kept (No space left on device)" in log.text
    assert store.load("test", "asked") is None and calls == [1, 1]
    monkeypatch.undo()
    store.keep("test", "asked", compute, lambda name: True)
    assert store.load("test", "asked")["trained.h"].sum() == 6
    assert store.load("test", "something else") is None
    (tmp_path / "test/asked.json").write_text("{")
    assert store.load("test", "asked") is None


def test_without_labels(experiment, monkeypatch):
    """What needs none is evaluated, the others say so."""
    load = datasets.load
    monkeypatch.setattr(datasets, "load", lambda *arguments: load(*arguments).without_labels())
    made = experiment(labels_per_class=0)
    findings, rows = measured(made)
    assert {*findings.details["trained"]["final_avg_pool"]} == {"neighbors"}
    assert {*findings.figures["trained"]["final_avg_pool"]} == {
        "feature_rank",
        "feature_std",
        "dead_dimensions",
        "uniformity",
        "alignment",
    }
    assert {one["evaluation"] for one in findings.left_out} == {
        "probe",
        "few_labels",
        "knn",
        "clustering",
        "retrieval",
        "classifier",
    }
    assert (
        "\n\nknn is left out (trained final_avg_pool, untrained final_avg_pool, pixels pixels): no "
        "training example has a label" in report.results_table(document_of(made, findings, rows))
    )


def test_damaged_labels_count_as_none(experiment, log, monkeypatch):
    made = experiment(untrained_baseline=False)
    data = evaluator.data(made)
    labels = data.test.labels.copy()
    labels[:5] = 10, 99, -7, 2**40, 11
    monkeypatch.setattr(
        evaluator,
        "data",
        lambda experiment: evaluator.Data(
            data.train, dataclasses.replace(data.test, labels=labels)
        ),
    )
    findings, rows = measured(made)
    assert (
        "5 labels are no number of one of the 10 classes (e.g. 10); those examples count as "
        "unlabelled" in log.text
    )
    assert np.sum(findings.details["trained"]["classifier"]["confusion"]) == 123
    shown = report_images.show(made, evaluator.data(made).test, rows, findings)  # 5 to 127 are left
    assert shown["images"]["labels"] == labels[5:].tolist()
    assert [shown["images"]["labels"][one["image"]] for one in shown["mistakes"]] == [
        one["label"] for one in shown["mistakes"]
    ]
    image = made.objective.eval_example(tf.constant(data.test.records[5]), 0)["image"].numpy()
    assert (
        np.abs(
            thumbnails(made.directory.path, shown["images"])[0]
            - np.repeat(np.repeat(image * 255, 2, 0), 2, 1)
        ).mean()
        < 6
    )


def test_weights_that_are_not_finite(experiment):
    """A line for each evaluation, and the report can still be made."""
    made = experiment(untrained_baseline=False)
    for variable in made.objective.encoder.trainable_variables:
        variable.assign(variable * np.nan)
    findings, rows = measured(made)
    assert not findings.figures
    assert {one["reason"] for one in findings.left_out} == {
        "128 of 128 test examples have features that are not finite"
    } | {"30 of 30 training examples have features that are not finite"}
    document = document_of(made, findings, rows)
    assert "map" not in document and document["left_out"]


# What is shown


def document_of(made, findings, rows):
    data = evaluator.data(made)
    return results_json.document(
        made,
        3,
        evaluate.describe(made),
        findings,
        data,
        report_images.show(made, data.test, rows, findings),
    )


def thumbnails(path, part):
    """[n, S, S, 3] of a sheet."""
    sheet, size = tf.io.decode_jpeg((path / part["file"]).read_bytes()).numpy(), part["size"]
    return (
        sheet.reshape(-1, size, part["columns"], size, 3).swapaxes(1, 2).reshape(-1, size, size, 3)
    )


def test_results(experiment, tmp_path):
    """results.json is what the report reads, with images and a command of the examples."""
    made = experiment(
        train_mode="pretrain", use_crop=False, use_flip=False, untrained_baseline=False
    )
    findings, rows = measured(made)
    document = document_of(made, findings, rows)
    made.directory.write(run_files.RESULTS, document)
    assert schema.read(made.directory.path) == json.loads(
        (tmp_path / "run" / run_files.RESULTS).read_text()
    )
    stages, _ = parse_command_line(
        *document["command"].replace("NEW", str(tmp_path / "run")).split()[2:]
    )
    same = {name for name, field in config.fields().items() if field.fixed}
    assert {name: value for name, value in stages[0].flat().items() if name in same} == {
        name: value for name, value in made.settings.flat().items() if name in same
    }

    source, images = evaluator.data(made).test, document["images"]
    sheet = thumbnails(tmp_path / "run", images)
    assert (
        images["labels"]
        == source.labels[[int(name) for name in map(_position(source), images["names"])]].tolist()
    )
    for index in (0, 17, 127):
        image = made.objective.eval_example(tf.constant(source.records[index]), 0)["image"].numpy()
        expected = np.repeat(np.repeat(image * 255, 2, 0), 2, 1)
        assert np.abs(sheet[index] - expected).mean() < 6
    row = document["neighbors"][0]
    similarity = cosine_similarity(rows.test["final_avg_pool"])[row["query"]]
    assert row["neighbors"] == [i for i in np.argsort(-similarity) if i != row["query"]][:8]
    assert len(document["map"]["pca"]) == len(document["map"]["tsne"]) == 128
    assert all(
        m["label"] != m["predicted"] == images["predicted"][m["image"]]
        for m in document["mistakes"]
    )
    views = thumbnails(tmp_path / "run", document["views"])
    assert (document["views"]["columns"], document["views"]["rows"], len(views)) == (3, 8, 24)


@pytest.mark.parametrize(
    "features", [np.zeros([50, 16]), np.ones([50, 16]), np.full([1000, 16], 0.3)]
)
def test_no_map_of_collapsed_features(features):
    """t-SNE of scikit-learn ends the process with them."""
    assert report_images._maps(features.astype(np.float32)) == {}


def _position(source):
    names = source.names_of(np.arange(source.num_examples))
    return names.index


def test_more_images_than_the_map_has(experiment, monkeypatch):
    """Those of neighbours and mistakes come after those of the map."""
    monkeypatch.setattr(report_images, "ON_MAP", 20)
    made = experiment(untrained_baseline=False)
    findings, rows = measured(made)
    shown = report_images.show(made, evaluator.data(made).test, rows, findings)
    assert shown["map"]["images"] == list(range(20)) and len(shown["images"]["names"]) > 20
    positions = [
        int(name) for name in map(_position(evaluator.data(made).test), shown["images"]["names"])
    ]
    assert positions[:20] == report_images.on_map(rows).tolist() and len({*positions}) == len(
        positions
    )
    for found, row in zip(
        findings.details["trained"]["final_avg_pool"]["neighbors"], shown["neighbors"]
    ):
        assert [positions[i] for i in (row["query"], *row["neighbors"])] == [
            found["query"],
            *found["neighbors"],
        ]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"train_mode": "finetune"}, ["view 1"]),
        ({"train_mode": "supervised", "image_size": 40}, ["view 1"]),
        ({"pretext": "jigsaw"}, [f"view {number}" for number in range(1, 10)]),
    ],
)
def test_views_of_other_objectives(experiment, values, names):
    """Beside each image what the training makes of it."""
    made = experiment(**values)
    views = report_images._views(made)
    assert (views["columns"], views["rows"], views["names"]) == (
        1 + len(names),
        8,
        ["image", *names],
    )
    assert thumbnails(made.directory.path, views).shape == (
        8 * views["columns"],
        views["size"],
        views["size"],
        3,
    )


def test_what_is_beyond_white_and_black_is_clipped():
    """As standardised tiles are; however many pixels there are."""
    values = np.linspace(-3, 3, 11 * 11 * 3, dtype=np.float32).reshape(11, 11, 3)
    np.testing.assert_array_equal(
        report_images._thumbnail(tf.constant(values), 11), np.rint(255 * values.clip(0, 1))
    )


@pytest.mark.parametrize("values", [{"pretext": "rotation"}, {}, {"train_mode": "finetune"}])
def test_own_task(experiment, values):
    """The mean of the task's metrics over whole batches of held-out images."""
    made = experiment(train_batch_size=64, eval_batch_size=48, **values)
    source = evaluator.data(made).test
    found = pretext_accuracy.evaluate_pretext(made, source)
    if "pretext" not in values:
        assert found == {}
        return
    batches = pipeline.training_batches(
        [mixture.BatchPart(source, 48)], made.objective.example, 1, 0, made.strategy
    )
    rows = [
        made.objective.loss(batch, training=False)[1]
        for batch in itertools.islice(batches, source.num_examples // 48)
    ]
    expected = {
        name: np.mean([row[f"pretext_{short}"] for row in rows])
        for name, short in (
            ("task_loss", "loss"),
            ("task_accuracy", "acc"),
            ("task_chance", "chance"),
        )
    }
    assert found == pytest.approx(expected, rel=1e-4)


def test_tensorboard(experiment, tmp_path):
    """Figures, hyper-parameters, and a projector whose files agree with one another."""
    from google.protobuf import text_format
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins import projector

    made = experiment(untrained_baseline=False)
    findings, rows = measured(made)
    shown = report_images.show(made, evaluator.data(made).test, rows, findings)
    tensorboard.write(made.directory.path, made.settings, 3, findings.flat(), rows, shown)
    accumulator = EventAccumulator(str(tmp_path / "run/eval"))
    accumulator.Reload()
    assert {*findings.flat()} <= {*accumulator.Tags()["tensors"]}
    hyperparameters = accumulator.SummaryMetadata(
        "_hparams_/session_start_info"
    ).plugin_data.content
    assert (
        accumulator.PluginTagToContent("hparams")
        and b"learning_rate" in hyperparameters
        and b"knn_k" not in hyperparameters
    )
    described = text_format.Parse(
        (tmp_path / "run/eval" / tensorboard.CONFIG).read_text(), projector.ProjectorConfig()
    ).embeddings[0]
    vectors = np.loadtxt(tmp_path / "run/eval" / described.tensor_path)
    lines = (tmp_path / "run/eval" / described.metadata_path).read_text().splitlines()
    np.testing.assert_allclose(vectors, rows.test["final_avg_pool"], rtol=1e-4, atol=1e-5)
    assert len(lines) == 1 + len(vectors) and lines[1].split("\t")[0] == str(rows.test["label"][0])
    sheet = tf.io.decode_jpeg((tmp_path / "run/eval" / described.sprite.image_path).read_bytes())
    assert sheet.shape[0] * sheet.shape[1] >= len(vectors) * np.prod(
        described.sprite.single_image_dim
    )


# Transfer


def test_transfer(experiment, tmp_path):
    """The probe is that of the encoder as it is, fine-tuning starts from it; done once."""
    made = experiment(transfer_datasets="digits", transfer_epochs=1, eval_steps=1)
    made.lock_directory()
    made.commit_directory()
    made.checkpoints.save()
    findings = Results()
    (row,) = transfer.transfer(made, findings)
    data = evaluator.data(build_experiment(transfer.settings_for(made, "digits")))
    train, test = (
        Examples(made.objective(images_of(made, source))["final_avg_pool"].numpy(), source.labels)
        for source in (data.train, data.test)
    )
    expected = metrics.run("probe", train, test, made.settings.eval)[0]["linear_probe_accuracy"]
    assert row["probe"] == pytest.approx(expected, abs=0.02) and row[
        "untrained_probe"
    ] == pytest.approx(expected, abs=0.02)  # nothing was trained yet
    assert (row["dataset"], row["classes"], row["labels"], row["test"]) == ("digits", 10, 1437, 64)
    assert 0 <= row["fine_tuned"] <= 1 and not findings.left_out
    (place,) = (tmp_path / "run/transfer").iterdir()
    assert pretrained.load(str(place)).step == -(-1437 // 256)
    before = (place / recipes.CONFIG_FILE).stat().st_mtime_ns
    assert (
        transfer.transfer(made, findings) == [row]
        and (place / recipes.CONFIG_FILE).stat().st_mtime_ns == before
    )


def test_transfer_to_what_has_no_labels(experiment, images, tmp_path):
    """It is left out, and what was evaluated before stays."""
    made = experiment(
        transfer_datasets=f"folder:{images(24)}",
        eval_steps=1,
        untrained_baseline=False,
        evaluations="classifier",
    )
    made.lock_directory()
    made.commit_directory()
    made.checkpoints.step.assign(made.num_steps)
    made.checkpoints.save()
    evaluate.evaluate_and_export(made)
    document = schema.read(tmp_path / "run")
    assert (
        document["transfer"] == []
        and "only pretraining and distillation work without" in document["left_out"][0]["reason"]
    )
    assert (
        json.loads((tmp_path / "run/result.json").read_text())["global_step"] == 3
        and (tmp_path / "run/saved_model/3").exists()
    )


@pytest.fixture
def images(tmp_path):
    """A function: count -> a folder with so many images without label."""

    def make(count):
        for number in range(count):
            tf.io.write_file(
                str(tmp_path / f"images/{number}.png"),
                tf.io.encode_png(
                    tf.cast(tf.random.stateless_uniform([9, 9, 3], [1, number], 0, 255), tf.uint8)
                ),
            )
        return tmp_path / "images"

    return make


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("cifar11", "--transfer_datasets=cifar11: neither digits, folder:PATH nor a data set"),
        ("folder:/nowhere", "--transfer_datasets=folder:/nowhere"),
    ],
)
def test_what_can_not_be_transferred_to(settings, name, line):
    """It shows before the training."""
    with pytest.raises(UserError, match=line):
        build_experiment(settings(mode="train_then_eval", transfer_datasets=name))


def test_a_data_set_without_a_second_split(settings, monkeypatch):
    monkeypatch.setitem(datasets.SOURCES, "single", lambda data: {"train": None})
    with pytest.raises(
        UserError,
        match="--transfer_datasets=single: a split train and one of test, validation, val are "
        "needed, it has train",
    ):
        datasets.train_and_test(DataConfig(), "single")
