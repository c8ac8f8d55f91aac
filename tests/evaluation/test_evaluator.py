"""From an experiment to metrics: which networks and layers, which features, what is left out."""

import dataclasses
import itertools
import shutil

import numpy as np
import pytest
import tensorflow as tf
from etils import epath

from tests.helpers.evaluation import (
    QUICK,
    document_of,
    evaluation_data,
    images_of,
    measure,
    thumbnails,
    write_report_images,
)
from tf_simclr import distribute, report
from tf_simclr.commands import evaluate
from tf_simclr.data import datasets, mixture, pipeline
from tf_simclr.evaluation import evaluator, features, metrics, pretext_accuracy
from tf_simclr.evaluation.metrics.base import Examples
from tf_simclr.evaluation.network_features import EvaluationData
from tf_simclr.runs import files as run_files
from tf_simclr.training.experiment import build_experiment

LAYERS = ["block_group1", "final_avg_pool", "proj_head_1", "proj_head_2", "proj_head_3"]


def features_of(experiment, network, source):
    """{layer: features} of all examples of a source, in inference mode."""
    images = images_of(experiment, source)
    if network == "pixels":
        return {"pixels": tf.reshape(images, [len(images), -1])}
    is_trained = network == "trained"
    objective = experiment.objective if is_trained else experiment.make_baseline("untrained")
    return objective.layer_features(images)


def test_all_networks_and_layers(settings, shallow, few_splits):
    """The metrics are those of features computed one layer at a time, in inference mode."""
    experiment = build_experiment(settings(**QUICK, eval_layers="all"))
    experiment.directory.create()
    measured = measure(experiment)
    data, values = measured.data, measured.results.metrics
    assert (data.train.num_examples, data.test.num_examples) == (30, 128)
    assert set(values) == {"trained", "untrained", "pixels"}
    assert set(values["trained"]) == {"classifier", *LAYERS}
    assert set(values["untrained"]) == set(LAYERS)
    assert set(values["pixels"]) == {"pixels"}
    assert not measured.results.left_out
    for network, layers in values.items():
        layer = "pixels" if network == "pixels" else "proj_head_2"
        train, test = (
            Examples(features_of(experiment, network, source)[layer].numpy(), source.labels)
            for source in (data.train, data.test)
        )
        for name in ("knn", "clustering", "retrieval"):
            expected, _ = metrics.run(name, train, test, experiment.settings.eval)
            actual = {metric: layers[layer][metric] for metric in expected}
            assert actual == pytest.approx(expected, abs=0.02)
    document = document_of(experiment, measured)
    label_law = document["details"]["trained"]["final_avg_pool"]["label_law"]
    reason = "there are labels for 3 points of the curve, and a law takes 4"
    assert label_law["reason"] == reason  # 30 labels of 10 classes
    assert f"can't tell how many labels; {reason}" in report.labels_needed(document)[0]
    outputs = features_of(experiment, "trained", data.test)
    for layer in ("proj_head_2", "logits_sup"):
        actual = measured.features.test[layer]
        np.testing.assert_allclose(actual, outputs[layer], rtol=1e-4, atol=1e-5)


def test_tags_of_metrics(make_experiment):
    results = measure(make_experiment(eval_layers="all"), ("classifier", "knn")).results
    tags, trained = results.flat(), results.metrics["trained"]
    assert tags["eval/proj_head_2/knn_accuracy"] == trained["proj_head_2"]["knn_accuracy"]
    assert tags["eval/label_top_1_accuracy"] == trained["classifier"]["label_top_1_accuracy"]
    assert "untrained/knn_accuracy" in tags and "pixels/knn_accuracy" in tags


def test_layers_of_a_network(make_experiment):
    """Feature maps as their mean over space, each layer of the head, and the logits."""
    objective = make_experiment(ft_proj_selector=1).objective
    images = tf.random.stateless_uniform([2, 16, 16, 3], [1, 2])
    layers, endpoints = objective.layer_features(images), objective(images)
    expected = {
        "block_group1": tf.reduce_mean(endpoints["block_group1"], [1, 2]),
        "proj_head_3": endpoints["proj_head_output"],
        "final_avg_pool": endpoints["final_avg_pool"],
        "logits_sup": objective.supervised_head(layers["proj_head_1"]),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(layers[name], value, rtol=1e-5)
    np.testing.assert_allclose(layers["logits_sup"], endpoints["logits_sup"], rtol=1e-5)


@pytest.mark.parametrize("replicas", [1, 2])
def test_features_of_all_examples_in_order(settings, shallow, two_replicas, replicas, monkeypatch):
    """Inference mode, the last partial batch included, nothing twice; views are always the same."""
    options = settings()
    strategy = two_replicas if replicas == 2 else tf.distribute.get_strategy()
    monkeypatch.setattr(distribute, "get_strategy", lambda hardware: strategy)
    experiment = build_experiment(options)
    objective = experiment.objective
    source = datasets.load(options.data, "test").take(np.arange(21))
    function = features.layer_features(objective, ["final_avg_pool"])
    compute = features.feature_mapper(function, objective.eval_example, 8, strategy)
    arrays = compute(source, "test")
    np.testing.assert_array_equal(arrays["label"], source.labels)
    expected = objective(images_of(experiment, source))["final_avg_pool"]
    np.testing.assert_allclose(arrays["final_avg_pool"], expected, rtol=1e-4, atol=1e-6)
    view_function = features.view_features(features.pixel_features, options.augment)
    compute = features.feature_mapper(view_function, features.two_views(options), 8, strategy)
    views = compute(source, "views")["pixels"]
    assert views.shape == (21, 2, 16 * 16 * 3)
    some = compute(source.take(np.array([3, 20])), "views")["pixels"]
    np.testing.assert_array_equal(some, views[[3, 20]])
    assert (views[:, 0] != views[:, 1]).any(1).all()


def test_pixels_are_reduced():
    """Also compiled by XLA, as on a TPU."""
    images = np.random.default_rng(0).random([2, 64, 64, 3]).astype(np.float32)
    expected = images.reshape(2, 16, 4, 16, 4, 3).mean((2, 4)).reshape(2, -1)
    pixels = features.pixel_features(tf.constant(images))["pixels"]
    np.testing.assert_allclose(pixels, expected, rtol=1e-5)
    compiled = tf.function(features.pixel_features, jit_compile=True, autograph=False)
    np.testing.assert_allclose(compiled(tf.constant(images))["pixels"], expected, rtol=1e-5)


def test_the_same_metrics_again(make_experiment, tmp_path):
    """With what was kept, and without it."""
    first = dataclasses.asdict(measure(make_experiment()).results)
    kept = tmp_path / "run" / run_files.FEATURES
    assert {path.name for path in kept.iterdir()} == {"test", "train", "views"}
    assert dataclasses.asdict(measure(make_experiment()).results) == first
    shutil.rmtree(kept)
    (tmp_path / "run" / run_files.BASELINES).unlink()
    assert dataclasses.asdict(measure(make_experiment()).results) == first


def test_features_are_computed_once(make_experiment, monkeypatch):
    """As long as weights, examples and layers are the same; baselines likewise."""
    experiment = make_experiment(evaluations="knn")
    computed = []
    evaluation_batches = pipeline.evaluation_batches

    def record(source, *arguments):
        computed.append(source.split)
        return evaluation_batches(source, *arguments)

    monkeypatch.setattr(pipeline, "evaluation_batches", record)

    def computed_for(**flags):
        computed.clear()
        measure(make_experiment(**{"evaluations": "knn", **flags}) if flags else experiment)
        return list(computed)

    assert computed_for() == ["train", "test"]
    assert computed_for() == []
    assert computed_for(evaluations="classifier") == []
    assert computed_for(knn_k=3) == ["train", "test"]  # for the baselines
    assert computed_for() == ["train", "test"]
    experiment.objective.supervised_head.bias.assign_add(tf.ones(10))
    assert computed_for() == ["train", "test"]
    assert computed_for(eval_steps=1) == ["train", "test"]


def test_baselines_of_another_stage(settings, shallow, eager, few_splits, tmp_path, monkeypatch):
    """They are taken as they are where nothing differs that they depend on."""
    networks = []

    def measured(name, train_mode, **flags):
        flags = {**QUICK, "evaluations": "probe", "train_mode": train_mode, **flags}
        options = settings(model_dir=str(tmp_path / name), **flags)
        first = tmp_path / "first"
        experiment = build_experiment(options, related=[epath.Path(first)])
        experiment.directory.create()
        networks.clear()
        results = measure(experiment).results.metrics
        results.pop("trained")
        saved = (tmp_path / name / run_files.BASELINES).read_text()
        return results, saved, list(networks)

    evaluate_network = evaluator.evaluate_network

    def record(results, network, *arguments):
        networks.append(network)
        evaluate_network(results, network, *arguments)

    monkeypatch.setattr(evaluator, "evaluate_network", record)
    expected, saved, of_all = measured("first", "pretrain")
    assert of_all == ["untrained", "pixels", "trained"] and set(expected) == {*of_all[:2]}
    assert measured("second", "supervised") == (expected, saved, ["trained"])
    for flags in ({"resnet_depth": 34}, {"eval_crop": "whole"}, {"class_weights": "balanced"}):
        _, other, networks_of_it = measured(str(flags), "supervised", **flags)
        assert networks_of_it == of_all and other != saved, flags
    # The projection head is another one.
    assert measured("layers", "supervised", eval_layers="all")[2] == of_all


def test_without_labels(make_experiment, monkeypatch):
    """What needs none is evaluated, the others say so."""
    load = datasets.load
    monkeypatch.setattr(
        datasets, "load", lambda *arguments, **options: load(*arguments, **options).without_labels()
    )
    experiment = make_experiment(labels_per_class=0)
    measured = measure(experiment)
    results = measured.results
    assert set(results.details["trained"]["final_avg_pool"]) == {"neighbors"}
    health = {"feature_rank", "feature_std", "dead_dimensions", "uniformity", "alignment"}
    assert set(results.metrics["trained"]["final_avg_pool"]) == health
    left_out = {entry["evaluation"] for entry in results.left_out}
    need_labels = {
        "probe",
        "few_labels",
        "cross_validation",
        "knn",
        "clustering",
        "retrieval",
        "classifier",
    }
    assert left_out == need_labels
    line = (
        "\n\nprobe, few_labels, cross_validation, knn are left out (trained final_avg_pool, "
        "untrained final_avg_pool, pixels pixels): no training example has a label"
    )
    assert line in report.results_table(document_of(experiment, measured))


@pytest.mark.parametrize(
    "flags, is_computed",
    [
        ({}, True),
        ({"train_mode": "supervised"}, False),
        ({"train_mode": "finetune", "checkpoint": ""}, False),
    ],
)
def test_only_features_without_labels_are_cross_validated(make_experiment, flags, is_computed):
    """Those of images that the network was trained on with their labels would be too good."""
    experiment = make_experiment(
        evaluations="cross_validation,knn", eval_steps=1, untrained_baseline=False, **flags
    )
    metrics = evaluate.measure(experiment).results.metrics["trained"]["final_avg_pool"]
    assert ("cross_validated_accuracy" in metrics) == is_computed
    assert "knn_accuracy" in metrics


def test_of_many_images_without_label_a_draw_is_evaluated(settings, monkeypatch, log):
    """Clustering and health take no more; eval_steps does."""
    monkeypatch.setattr(evaluator, "MAX_EXAMPLES", 50)
    options = settings(eval_steps=0)
    source = datasets.load(options.data, "train")
    unlabeled = source.without_labels()
    of_labels = evaluator.evaluation_data(source, source, options)
    assert of_labels.test.num_examples == source.num_examples
    assert "has a label" not in log.text
    data = evaluator.evaluation_data(source, unlabeled, options)
    assert data.test.fingerprint() == unlabeled.at_most(50, 0).fingerprint()
    text = f"no image of split train has a label: 50 of its {source.num_examples} are evaluated"
    assert text in log.text
    options = settings(eval_steps=2, eval_batch_size=30)
    assert evaluator.evaluation_data(source, unlabeled, options).test.num_examples == 60


def test_damaged_labels_count_as_none(make_experiment, log):
    experiment = make_experiment(untrained_baseline=False)
    data = evaluation_data(experiment)
    labels = data.test.labels.copy()
    labels[:5] = 10, 99, -7, 2**40, 11
    damaged = EvaluationData(data.train, dataclasses.replace(data.test, labels=labels))
    measured = measure(experiment, data=damaged)
    message = (
        "5 labels are no number of one of the 10 classes (e.g. 10); those examples count as "
        "unlabeled"
    )
    assert message in log.text
    assert np.sum(measured.results.details["trained"]["classifier"]["confusion"]) == 123
    content = write_report_images(experiment, measured)  # of the examples 5 to 127
    assert content["images"]["labels"] == labels[5:].tolist()
    for mistake in content["mistakes"]:
        assert content["images"]["labels"][mistake["image"]] == mistake["label"]
    image = experiment.objective.eval_example(tf.constant(data.test.records[5]), 0)["image"]
    enlarged = np.repeat(np.repeat(image.numpy() * 255, 2, 0), 2, 1)
    first, *_ = thumbnails(experiment.directory.path, content["images"])
    assert np.abs(first - enlarged).mean() < 6


def test_weights_that_are_not_finite(make_experiment):
    """A line for each evaluation, and the report can still be made."""
    experiment = make_experiment(untrained_baseline=False)
    for variable in experiment.objective.encoder.trainable_variables:
        variable.assign(variable * np.nan)
    measured = measure(experiment)
    assert not measured.results.metrics
    assert {entry["reason"] for entry in measured.results.left_out} == {
        "128 of 128 test examples have features that are not finite",
        "30 of 30 training examples have features that are not finite",
    }
    document = document_of(experiment, measured)
    assert "map" not in document and document["left_out"]


@pytest.mark.parametrize("flags", [{"pretext": "rotation"}, {}, {"train_mode": "finetune"}])
def test_pretext_task_metrics(make_experiment, flags):
    """The mean of the task's metrics over whole batches of held-out images."""
    experiment = make_experiment(train_batch_size=64, eval_batch_size=48, **flags)
    objective, strategy = experiment.objective, experiment.strategy
    source = evaluation_data(experiment).test
    actual = pretext_accuracy.evaluate_pretext(
        objective,
        source,
        batch_parts=experiment.data.batch_parts,
        settings=experiment.settings,
        strategy=strategy,
    )
    if "pretext" not in flags:
        assert actual == {}
        return
    batch_parts = [mixture.BatchPart(source, 48)]
    batches = pipeline.training_batches(batch_parts, objective.example, 1, 0, strategy)
    history = []
    for batch in itertools.islice(batches, source.num_examples // 48):
        _, values = objective.loss(batch, training=False)
        history.append(values)
    names = {
        "task_loss": "pretext_loss",
        "task_accuracy": "pretext_acc",
        "task_chance": "pretext_chance",
    }
    for name, loss_metric in names.items():
        expected = np.mean([values[loss_metric] for values in history])
        assert actual[name] == pytest.approx(expected, rel=1e-4)
