"""What all methods share: the average, mixed batches, micro-batches, flags, and what they read."""

import dataclasses
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.configurations import TINY
from tests.helpers.training import (
    SEMI,
    Training,
    same_batches,
    state_of,
    values_of,
)
from tf_simclr import config
from tf_simclr.checkpoints import weights
from tf_simclr.checkpoints.checkpointer import Checkpointer
from tf_simclr.errors import UserError
from tf_simclr.objectives import objective_class
from tf_simclr.objectives.semi import fixmatch
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.training import settings_warnings
from tf_simclr.training.training_data import load_training_data

pytestmark = pytest.mark.usefixtures("shallow", "eager")
FIXMATCH = {"train_mode": "semi", "confidence_threshold": 0.05, "color_jitter_strength": 0.0}
ROOT = pathlib.Path(fixmatch.__file__).parents[3]
name_of = lambda flags: flags["semi_method"]


@pytest.mark.parametrize("flags", SEMI, ids=name_of)
def test_each_method(settings, flags):
    """A step changes what is trained and what follows it, and its outputs are what it says."""
    precision = "float32" if flags["semi_method"] == "vat_entmin" else "bfloat16"
    training = Training(settings(**flags, color_jitter_strength=0, precision=precision))
    objective = training.objective
    (batch,) = same_batches(training, 1)
    before = values_of(objective)
    metrics = training.step(batch)
    assert np.isfinite(list(metrics.values())).all()
    assert {"unlabeled_loss", "unlabeled_weight", "supervised_loss", "confidence"} <= set(metrics)
    after = values_of(objective)
    for prefix in ("learner", "model"):
        assert np.any(
            after[f"{prefix}/supervised_head/bias"] != before[f"{prefix}/supervised_head/bias"]
        )
    images = objective.images(batch)
    outputs = objective.outputs(batch, images, True) | objective.targets(batch, images, True)
    shapes = {name: [8, *shape] for name, shape in objective.output_shapes().items()}
    assert {name: list(value.shape) for name, value in outputs.items()} == shapes
    assert {value.dtype for value in outputs.values()} == {tf.float32}
    trained = {id(v) for v in objective.trainable_variables}
    averages = [v for layer in objective.exported_layers() for v in layer.weights]
    assert not trained & {id(v) for v in averages}
    assert {id(v) for v in objective.learner.trainable_variables} <= trained


def test_the_network_is_the_average(settings, tmp_path):
    """Of weights and statistics, from the start on; whoever reads a checkpoint gets it."""
    training = Training(settings(**FIXMATCH, ema_decay=0.5))
    objective = training.objective
    expected = of_network(objective, "learner")
    for path, value in of_network(objective, "model").items():
        np.testing.assert_array_equal(value, expected[path])
    for step, batch in enumerate(same_batches(training, 3), 1):
        training.step(batch)
        momentum = min(0.5, (1 + step) / (10 + step))
        for path, value in of_network(objective, "learner").items():
            expected[path] = momentum * expected[path] + (1 - momentum) * value
    averages = of_network(objective, "model")
    for path, value in averages.items():
        np.testing.assert_allclose(value, expected[path], rtol=1e-5, atol=1e-6, err_msg=path)
    saver = Checkpointer(tmp_path, objective, training.optimizer, training.strategy)
    saver.save()

    for other_mode in ("finetune", "distill"):
        other = Training(settings(train_mode=other_mode)).objective
        weights.Weights(str(tmp_path)).restore(other, other.variables)
        for path, value in of_network(other, "model").items():
            np.testing.assert_array_equal(value, averages[path])
    images = objective.images(batch)
    for name, value in objective.layer_features(images).items():
        np.testing.assert_allclose(value, other.layer_features(images)[name], atol=1e-5)


def test_resumes_bit_for_bit(settings, tmp_path):
    """From batches that are made anew, in a new training."""
    options = settings(**FIXMATCH, semi_method="freematch")
    whole = Training(options)
    saver = Checkpointer(tmp_path, whole.objective, whole.optimizer, whole.strategy)

    def save(step):
        saver.step.assign(step)
        if step == 1:
            saver.save()

    whole.run(3, after=save)
    resumed = Training(options)
    for v in resumed.objective.variables:  # whatever is not restored shows
        v.assign(tf.zeros_like(v.value))
    loading = Checkpointer(tmp_path, resumed.objective, resumed.optimizer, resumed.strategy)
    assert loading.resume()
    resumed.run(2, start=1)
    for path, value in state_of(whole).items():
        np.testing.assert_array_equal(state_of(resumed)[path], value, err_msg=path)


def of_network(objective, name):
    """{path inside of a network: value}."""
    prefix = f"{name}/"
    values = values_of(objective)
    return {path.removeprefix(prefix): v for path, v in values.items() if path.startswith(prefix)}


def test_frozen_layers_stay(settings):
    """In both networks, with their statistics; the projection layer that the head reads learns."""
    flags = {"fine_tune_after_block": 4, "ft_proj_selector": 1}
    training = Training(settings(**FIXMATCH, **flags))
    before = values_of(training.objective)
    for batch in same_batches(training, 2):
        training.step(batch)
    for path, value in values_of(training.objective).items():
        stays = "/encoder/" in path
        assert np.array_equal(value, before[path]) == stays, path
    assert any("projection_head/dense1" in path for path in before)


def test_any_order_of_a_batch(settings):
    """Which images have labels follows from the labels."""
    training = Training(settings(**FIXMATCH, fine_tune_after_block=4))
    (batch,) = same_batches(training, 1)
    training.objective.counter.advance()
    expected, _ = training.objective.part_loss(batch, True)
    turned = {name: tf.reverse(value, [0]) for name, value in batch.items()}
    loss, _ = training.objective.part_loss(turned, True)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert int(tf.reduce_sum(tf.cast(batch["label"] >= 0, tf.int32))) == 1


def test_micro_batches_are_one_batch(settings):
    """The same gradients where batch norm, which sees one part, is frozen; also with targets."""
    frozen = {"fine_tune_after_block": 4, "weight_decay": 0.0}
    frozen = {**FIXMATCH, **frozen, "semi_method": "cowmix"}
    whole = Training(settings(**frozen))
    parts = Training(settings(**frozen, accumulate_steps=4))
    for batch in same_batches(whole, 2):
        expected, actual = whole.step(batch), parts.step(batch)
        np.testing.assert_allclose(actual["total_loss"], expected["total_loss"], rtol=1e-5)
    for path, value in values_of(parts.objective).items():
        np.testing.assert_allclose(value, values_of(whole.objective)[path], atol=1e-6)


def test_optimizers_know_the_trained_network(settings):
    """Weight decay and the rates by depth are of the learner; LARS adapts no linear head."""
    training = Training(settings(**FIXMATCH, optimizer="lars", layer_decay=0.5))
    objective, optimizer = training.objective, training.optimizer
    head_ids = {id(v) for v in objective.learner.supervised_head.variables}
    assert head_ids <= optimizer.not_adapted
    factors = dict(zip(map(id, objective.trainable_variables), optimizer._factors))
    assert {factors[each] for each in head_ids} == {1.0}
    assert min(factors.values()) < 0.5
    assert float(training.step(same_batches(training, 1)[0])["weight_decay"]) > 0


def test_ratio_as_published(settings, log):
    """Where --unlabeled_ratio is 0, and that is said."""
    options = settings(train_mode="semi", labels_per_class=2)
    data = load(options)
    sizes = [(part.batch_size, part.source.num_labeled) for part in data.batch_parts]
    assert sizes == [(1, 20), (7, 0)]
    assert "7 images without label for each one with a label, as published" in log.text
    given = load(settings(train_mode="semi", labels_per_class=2, unlabeled_ratio=1.0))
    assert [part.batch_size for part in given.batch_parts] == [4, 4]


def load(options, later=()):
    run = RunDirectory(options.train.model_dir)
    return load_training_data(options, directory=run, related=[], later=later, num_replicas=1)


def test_what_is_missing_shows_before_any_training(settings, photos_without_labels):
    """All images have labels, or none has."""
    pretraining = settings()
    with pytest.raises(UserError, match=r"there are 1437 with and 0 without; see --label_fraction"):
        load(pretraining, later=[settings(train_mode="semi")])
    folder = {"dataset": f"folder:{photos_without_labels}"}
    with pytest.raises(UserError, match=r"--train_mode=semi: .* has no labels"):
        load(settings(**folder), later=[settings(**folder, train_mode="semi")])


@pytest.fixture
def photos_without_labels(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        image = np.full((8, 8, 3), 60 * number, np.uint8)
        (folder / f"{number}.png").write_bytes(tf.io.encode_png(image).numpy())
    return folder


def test_flags_of_other_methods(settings, logged):
    flags = {"semi_method": "freematch", "confidence_threshold": 0.9, "tsa": "log"}
    options = settings(train_mode="semi", labels_per_class=2, **flags)
    data = load(options)
    logged()
    settings_warnings.warn(options, data, None)
    expected = "--confidence_threshold, --tsa: without a meaning for --semi_method=freematch"
    assert logged() == [expected]


def test_every_flag_is_of_a_method():
    """And its help names the methods that read it."""
    fields = config.fields()
    read_by_all = {"semi_method", "unlabeled_weight", "ema_decay"}
    names = {field.name for field in dataclasses.fields(config.Config().semi)} - read_by_all
    read = set()
    for flags in SEMI:
        flags_of_method = objective_class(config.build({**TINY, **flags})).flags
        read |= set(flags_of_method)
        named = {name for name in names if flags["semi_method"] in fields[name].help}
        assert named == set(flags_of_method)
    assert read == names


def test_warnings_are_of_many_steps(settings):
    objective = objective_class(settings(train_mode="semi"))(settings(train_mode="semi"), 10)
    none = {"mask_rate": 0.0, "predicted_classes": 5.0}
    lines = [objective.warning(none) for _ in range(25)]
    assert lines[:19] == [None] * 19
    assert all(re.search("in 20 steps", line) for line in lines[19:])
    assert objective.warning({**none, "mask_rate": 0.5}) is None


def test_docs():
    """A row for each method, and the code as it is."""
    page = (ROOT / "docs" / "semi_supervised.md").read_text()
    assert [flags for flags in SEMI if f"| `{flags['semi_method']}` |" not in page] == []
    code = page.split("## Write your own")[1].split("```python\n")[1].split("```")[0]
    assert code.strip() in pathlib.Path(fixmatch.__file__).read_text()
