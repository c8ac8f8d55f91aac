"""Distillation: the loss against the paper's formula, and the teacher, which nothing changes."""

import dataclasses
import functools
import json

import numpy as np
import pytest
import tensorflow as tf
from etils import epath
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.helpers.training import Training, values_of
from tf_simclr.checkpoints import pretrained, teacher, weights
from tf_simclr.checkpoints.class_names import numbered_names
from tf_simclr.data import datasets
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.errors import UserError
from tf_simclr.export import exporter, model_card
from tf_simclr.objectives.distillation import distillation_loss
from tf_simclr.training import prior_networks
from tf_simclr.training.experiment import build_experiment

pytestmark = pytest.mark.usefixtures("shallow")


def slow_loss(student_logits, teacher_logits, labels, alpha, temperature):
    """SimCLRv2 eq. 3, a sum at a time, over the number of images."""
    student_logits = student_logits.astype(np.float64)
    teacher_logits = teacher_logits.astype(np.float64)

    def log_p(logits, y, tau):
        scaled = [float(v) / tau for v in logits]
        top = max(scaled)
        return scaled[y] - top - np.log(sum(np.exp(v - top) for v in scaled))

    total = 0.0
    for s, t, label in zip(student_logits, teacher_logits, labels, strict=True):
        if label >= 0:
            total -= (1 - alpha) * log_p(s, label, 1.0)
        for y in range(len(s)):
            total -= alpha * np.exp(log_p(t, y, temperature)) * log_p(s, y, temperature)
    return total / len(labels)


@hypothesis_settings(deadline=None, max_examples=50)
@given(
    st.integers(0, 1000), st.integers(1, 9), st.integers(2, 7), st.floats(0, 1), st.floats(0.1, 5)
)
def test_loss_equals_the_loop(seed, batch, classes, alpha, temperature):
    rng = np.random.default_rng(seed)
    student, taught = (rng.normal(size=(batch, classes)).astype(np.float32) for _ in range(2))
    labels = rng.integers(-1, classes, batch)
    tensors = (tf.constant(student), tf.constant(taught), tf.constant(labels))
    loss, metrics = distillation_loss(*tensors, alpha, temperature)
    expected = slow_loss(student, taught, labels, alpha, temperature)
    assert float(loss) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    expected = slow_loss(student, taught, labels, 1.0, temperature)
    assert float(metrics["distill_loss"]) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def finished(settings, folder, **values):
    """Makes a run directory with a checkpoint of a random network; returns its objective."""
    experiment = build_experiment(settings(model_dir=str(folder), **values))
    experiment.directory.create()
    experiment.directory.commit()
    for v in experiment.objective.variables:  # not the values that every network starts with
        v.assign(v + tf.random.stateless_uniform(v.shape, [3, 4], 0.01, 0.2))
    experiment.checkpoints.step.assign(1)
    experiment.checkpoints.save()
    return experiment.objective


def exported(network, directory):
    settings = network.settings
    class_names = numbered_names(10)
    description = model_card.ModelDescription(settings, class_names, 1, {}, {})
    exporter.export(
        pretrained.float32_copy(network),
        description,
        epath.Path(directory),
        options=settings.export,
    )


def test_teacher_of_a_run(settings, tmp_path, rng):
    network = finished(settings, tmp_path / "run", train_mode="finetune", ft_proj_selector=1)
    images = tf.constant(rng.random((4, 16, 16, 3)), tf.float32)
    expected = network(images)["logits_sup"]
    for path in ("run", "run/ckpt-1"):
        loaded = teacher.load(str(tmp_path / path), 16)
        assert loaded.num_outputs == 10
        np.testing.assert_allclose(loaded(images), expected, rtol=1e-5, atol=1e-6)


def test_teacher_of_a_saved_model(settings, tmp_path, rng):
    network = finished(settings, tmp_path / "run", train_mode="finetune")
    exported(network, tmp_path)
    images = tf.constant(rng.random((4, 16, 16, 3)), tf.float32)
    loaded = teacher.load(str(tmp_path / "saved_model" / "1"), 16)
    assert loaded.num_outputs == 10
    np.testing.assert_allclose(loaded(images), network(images)["logits_sup"], rtol=1e-5, atol=1e-6)


def test_teacher_on_two_replicas(settings, tmp_path, rng, two_replicas):
    """Of a run and of a SavedModel, inside `strategy.run`, each replica with its own copy."""
    network = finished(settings, tmp_path / "run", train_mode="finetune")
    exported(network, tmp_path)
    images = tf.constant(rng.random((4, 16, 16, 3)), tf.float32)
    for path in ("run", "saved_model/1"):
        with two_replicas.scope():
            loaded = teacher.load(str(tmp_path / path), 16)
        run = functools.partial(two_replicas.run, loaded, (images,))
        predict = tf.function(run, autograph=False)
        for logits in two_replicas.experimental_local_results(predict()):
            np.testing.assert_allclose(logits, network(images)["logits_sup"], rtol=1e-5, atol=1e-6)


def test_the_teacher_stays_as_it_is_and_outside_the_student(settings, tmp_path):
    finished(settings, tmp_path / "run", train_mode="finetune")
    options = settings(train_mode="distill", distill_alpha=0.5, optimizer="adam")
    training = Training(options)
    loaded = teacher.load(str(tmp_path / "run"), 16)
    training.objective.teacher = loaded
    before = [v.numpy().tobytes() for v in loaded.variables]
    student_before = values_of(training.objective)
    training.run(3)
    assert len(before) > 10
    assert [v.numpy().tobytes() for v in loaded.variables] == before
    student_variables = {id(v) for v in training.objective.variables}
    assert not student_variables & {id(v) for v in loaded.variables}
    for path, value in values_of(training.objective).items():
        assert "kernel" not in path or np.any(value != student_before[path])


@pytest.mark.parametrize("mode", ["pretrain", "distill"])  # the others are fed the subset only
def test_labels_outside_the_subset_change_nothing(settings, eager, mode):
    """The same weights, to the last bit, whatever the other images are labeled as."""
    options = settings(
        train_mode=mode,
        labels_per_class=2,
        distill_alpha=0.5,
        deterministic=True,
        color_jitter_strength=0,
    )
    digits = datasets.load(options.data, "train").at_most(60)
    subset = np.concatenate([np.flatnonzero(digits.labels == c)[:2] for c in range(10)])
    wrong = np.where(np.isin(np.arange(60), subset), digits.labels, (digits.labels + 3) % 10)

    def trained(labels):
        source = dataclasses.replace(digits, labels=labels).with_labels_of(subset)
        training = Training(options, source=source)
        training.run(3)
        return values_of(training.objective)

    expected, weights_of_wrong = trained(digits.labels), trained(wrong)
    for path, value in weights_of_wrong.items():
        assert value.tobytes() == expected[path].tobytes(), path


def test_experiment_feeds_what_table_2_says(settings, tmp_path):
    """Labels only; with distillation on labeled images; the same on all; distillation only."""
    finished(settings, tmp_path / "teacher", train_mode="finetune")
    few = {"labels_per_class": 2, "teacher_checkpoint": str(tmp_path / "teacher")}

    def batch_parts(**values):
        """[(examples of a batch, images, labels)]."""
        experiment = build_experiment(settings(**values))
        return [
            (part.batch_size, part.source.num_examples, part.source.num_labeled)
            for part in experiment.data.batch_parts
        ]

    distill = {"train_mode": "distill"}
    on_labeled = {**distill, "distill_alpha": 0.1, "distill_unlabeled": False}
    assert batch_parts(train_mode="supervised", labels_per_class=2) == [(8, 20, 20)]
    assert batch_parts(**few, **on_labeled) == [(8, 20, 20)]
    assert batch_parts(**few, **distill, distill_alpha=0.1) == [(8, 1437, 20)]
    assert batch_parts(**few, **distill) == [(8, 1437, 20)]
    unlabeled = {"unlabeled_dataset": "digits", "unlabeled_split": "test"}
    mixed = batch_parts(**few, **distill, **unlabeled, unlabeled_ratio=3.0)
    assert mixed == [(2, 20, 20), (5, 1417, 0), (1, 360, 0)]


def test_stages_use_the_labels_of_the_run_they_start_from(settings, tmp_path):
    """Even with another seed."""
    first = build_experiment(settings(model_dir=str(tmp_path / "a"), labels_per_class=2, seed=5))
    first.lock_directory()
    first.commit_directory()
    kept = json.loads((tmp_path / "a" / "labels.json").read_text())["ids"]
    first.checkpoints.save()
    start = str(first.directory.path)

    def labeled(related=(), **values):
        """The numbers of the images whose labels are used."""
        options = settings(train_mode="finetune", seed=6, model_dir=str(tmp_path / "b"), **values)
        source = build_experiment(options, related=related).data.train_source
        return np.flatnonzero(source.labels >= 0).tolist()

    assert labeled(labels_per_class=2, checkpoint=start) == kept
    assert labeled(labels_per_class=2, related=[first.directory.path]) == kept
    assert labeled(labels_per_class=2) != kept
    assert len(labeled(labels_per_class=3, checkpoint=start)) == 30


def of_another_kind(settings, tmp_path):
    (tmp_path / "empty").mkdir()
    finished(settings, tmp_path / "pre", lineareval_while_pretraining=False)
    finished(settings, tmp_path / "run", train_mode="finetune")
    (tmp_path / "bare").mkdir()
    for path in (tmp_path / "run").glob("ckpt-1*"):
        (tmp_path / "bare" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "saved").mkdir()
    tf.saved_model.save(tf.Module(), str(tmp_path / "saved" / "1"))


def test_wrong_teachers(settings, tmp_path):
    of_another_kind(settings, tmp_path)
    for path, message in (
        ("nowhere", "no such file or directory"),
        ("empty", "there is no checkpoint in it;"),
        (".", "no checkpoint in it, but in .*/pre, .*/run;"),
        ("pre", "has no linear head"),
        ("bare/ckpt-1", "no flags.json beside"),
        ("saved/1", "not one whose call gives logits_sup"),
    ):
        with pytest.raises(UserError, match=message):
            teacher.load(str(tmp_path / path), 16)
    with pytest.raises(UserError, match="give --teacher_checkpoint="):
        teacher.load("", 16)


def test_teacher_of_other_classes(settings, tmp_path):
    finished(settings, tmp_path / "run", train_mode="finetune")
    assert weights.Weights(tmp_path / "run").num_classes == 10
    options = settings(train_mode="distill", teacher_checkpoint=str(tmp_path / "run"))
    labels = np.array([0, 1, 0, 1])
    source = Indexed("s", "train", ("a", "b"), None, np.zeros((4, 1)), labels)
    with pytest.raises(UserError, match="it knows 10 classes and s has 2"):
        prior_networks.load_teacher(options, source, tf.distribute.get_strategy())
