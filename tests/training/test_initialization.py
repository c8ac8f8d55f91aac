"""What is computed once before the training: features, a teacher's logits, the linear head."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.helpers.training import Training, load_linear_teacher, values_of
from tf_simclr.data import datasets
from tf_simclr.errors import UserError
from tf_simclr.evaluation.metrics import linear_probe
from tf_simclr.models.layers import BatchNorm
from tf_simclr.objectives import objective_class
from tf_simclr.training import experiment as experiment_lib
from tf_simclr.training import initialization, precompute
from tf_simclr.training.experiment import build_experiment

pytestmark = pytest.mark.usefixtures("shallow")


@pytest.fixture
def make_experiment(settings, monkeypatch):
    """A function: flags -> an experiment whose teacher, if it needs one, is a linear map."""
    monkeypatch.setattr(experiment_lib, "load_teacher", load_linear_teacher)
    defaults = {"labels_per_class": 2, "optimizer": "momentum"}
    return lambda **flags: build_experiment(settings(**defaults, **flags))


def with_constants(experiment):
    return precompute.with_constants(
        experiment.data.batch_parts,
        objective=experiment.objective,
        settings=experiment.settings,
        strategy=experiment.strategy,
    )


def initialize(experiment, source):
    initialization.initialize(
        experiment.objective,
        settings=experiment.settings,
        train_source=source,
        strategy=experiment.strategy,
    )


UNCHANGED = {"use_crop": False, "use_flip": False}  # nothing random is done to the images
FROZEN = {"train_mode": "finetune", "fine_tune_after_block": 4}


@pytest.mark.parametrize(
    ("values", "width"),
    [
        (FROZEN, 4),
        ({**FROZEN, "ft_proj_selector": 1}, 4),
        ({"train_mode": "distill", "distill_alpha": 0.5}, 10),
    ],
)
def test_computed_once_gives_the_same_training(make_experiment, eager, values, width):
    """Features and logits that are computed once give what they give at each step."""
    experiment = make_experiment(**UNCHANGED, learning_rate=0.3, **values)
    (part,) = with_constants(experiment)
    assert part.constants.shape == (part.source.num_examples, width)

    def train(batch_parts):
        training = Training(experiment.settings)
        training.batch_parts = batch_parts
        losses = [metrics["total_loss"] for metrics in training.run(4)]
        return losses, values_of(training.objective)

    losses, weights = train([part])
    expected_losses, expected_weights = train(experiment.data.batch_parts)
    assert losses == pytest.approx(expected_losses, rel=1e-4) and losses[-1] != losses[0]
    for path, value in weights.items():
        np.testing.assert_allclose(value, expected_weights[path], atol=1e-5, err_msg=path)


@pytest.mark.parametrize(
    "values",
    [
        {"train_mode": "finetune"},
        {**FROZEN, "use_crop": True},
        {"train_mode": "distill", "max_shear": 0.1},
        {},
    ],
)
def test_nothing_is_computed_ahead_of_what_changes(make_experiment, values):
    experiment = make_experiment(**{**UNCHANGED, **values})
    assert [part.constants for part in with_constants(experiment)] == [None]


def test_too_much_to_keep(make_experiment, monkeypatch):
    experiment = make_experiment(**UNCHANGED, **FROZEN)
    monkeypatch.setattr(precompute, "MEMORY_LIMIT", 4 * 4 * 20 - 1)
    (part,) = with_constants(experiment)
    assert part.constants is None
    monkeypatch.setattr(precompute, "MEMORY_LIMIT", 4 * 4 * 20)
    (part,) = with_constants(experiment)
    assert part.constants.shape == (20, 4)


PROBE = {"train_mode": "finetune", "probe_init_logits_layer": True}


@pytest.fixture
def labeled_batch(make_experiment):
    """(experiment with a head to be started as a probe, its labels [20], their images)."""
    experiment = make_experiment(ft_proj_selector=1, train_batch_size=20, **UNCHANGED, **PROBE)
    source = experiment.data.train_source.labeled()
    eval_example = experiment.objective.eval_example
    images = tf.stack([eval_example(image, 0)["image"] for image in source.records])
    return experiment, source.labels, images


def probe_of(objective, images, labels):
    """(features of the linear head [N, C], the probe on them)."""
    features = objective.head_input(objective.encoder(images)["final_avg_pool"]).numpy()
    return features, linear_probe.fit(features, labels)


def test_the_linear_head_starts_as_a_probe(labeled_batch, eager, log):
    """As logistic regression on what it reads, over the labeled images; nothing else changes."""
    experiment, labels, images = labeled_batch
    objective = experiment.objective
    for layer in objective._flatten_layers():
        if isinstance(layer, BatchNorm):
            layer.momentum = 0.0
    objective(images, training=True)  # now the moving statistics are those of the batch
    before = values_of(objective)
    initialize(experiment, experiment.data.train_source)
    assert "does not start" not in log.text
    for path, value in values_of(objective).items():
        assert "supervised_head" in path or np.array_equal(value, before[path]), path
    features, probe = probe_of(objective, images, labels)
    log_probabilities = tf.nn.log_softmax(objective(images)["logits_sup"])
    np.testing.assert_allclose(log_probabilities, probe.predict_log_proba(features), atol=0.02)


def test_a_probe_on_features_that_the_training_does_not_see(labeled_batch, eager, log):
    """Moving statistics that have seen no batch: with those of a batch the loss is large."""
    experiment, labels, images = labeled_batch
    objective = experiment.objective
    before = values_of(objective)
    initialize(experiment, experiment.data.train_source)
    warning = next(each for each in log.records if "does not start as" in each.getMessage())
    for path, value in values_of(objective).items():
        np.testing.assert_array_equal(value, before[path], err_msg=path)
    _, probe = probe_of(objective, images, labels)
    objective.start_linear_head(*linear_probe.as_linear_layer(probe, 10))
    outputs = objective.outputs({}, images, training=True)
    first_loss, _ = objective.loss_of(outputs, labels, training=True)
    said, chance = warning.args
    assert chance == pytest.approx(np.log(10)) and said > 2 * chance
    assert said == pytest.approx(float(first_loss), rel=1e-3)


def test_a_probe_of_one_class(make_experiment):
    experiment = make_experiment(**PROBE)
    digits = datasets.load(experiment.settings.data, "train")
    one_class = digits.take(np.flatnonzero(digits.labels == 3)[:5])
    with pytest.raises(UserError, match="at least two classes"):
        initialize(experiment, one_class)


@hypothesis_settings(deadline=None, max_examples=30)
@given(st.integers(0, 100), st.sets(st.integers(0, 5), min_size=2, max_size=6))
def test_linear_layer_of_a_probe(seed, classes):
    rng = np.random.default_rng(seed)
    labels = np.array(sorted(classes) * 5)
    features = rng.normal(3, 2, (len(labels), 4)) + labels[:, None]
    fitted = linear_probe.fit(features, labels)
    kernel, bias = linear_probe.as_linear_layer(fitted, 6)
    logits = features @ kernel + bias
    present = logits[:, sorted(classes)]
    p = np.exp(present - present.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    np.testing.assert_allclose(p, fitted.predict_proba(features), atol=1e-4)
    absent = sorted({*range(6)} - classes)
    assert np.all(kernel[:, absent] == 0) and np.all(bias[absent] == bias.min())


@pytest.fixture
def started_from(settings, tmp_path):
    """A function: classes, flags -> kernels of the linear heads of a pretraining and a run from it.

    The pretraining knows ten classes.
    """
    start = build_experiment(settings(model_dir=str(tmp_path / "start")))
    start.directory.create()
    start.commit_directory()
    start.checkpoints.save()
    digits = start.data.train_source

    def make(classes=10, **flags):
        options = settings(checkpoint=str(tmp_path / "start"), **flags)
        names = digits.class_names[:classes]
        source = dataclasses.replace(digits, labels=digits.labels % classes, class_names=names)
        objective = objective_class(options)(options, classes)
        objective.build_variables()
        initialization.initialize(
            objective, settings=options, train_source=source, strategy=start.strategy
        )
        np.testing.assert_array_equal(
            objective.encoder.variables[0], start.objective.encoder.variables[0]
        )
        heads = (start.objective.supervised_head, objective.supervised_head)
        return [head.kernel.numpy() for head in heads]

    return make


def test_linear_head_of_the_checkpoint(started_from, log):
    before, after = started_from(train_mode="finetune", keep_logits_layer=True)
    np.testing.assert_array_equal(after, before)
    assert "anew" not in log.text
    before, after = started_from(train_mode="finetune")
    assert (after != before).all()
    assert "--keep_logits_layer keeps it, as the original SimCLR release does" in log.text
    assert "variables restored, new: model/supervised_head (2)" in log.text


def test_linear_head_that_reads_another_layer(started_from, log):
    before, after = started_from(train_mode="finetune", keep_logits_layer=True, ft_proj_selector=1)
    assert (after != before).all()
    assert "reads --ft_proj_selector=0, and this one 1" in log.text


@pytest.mark.parametrize(
    "flags, words",
    [
        ({"train_mode": "finetune", "keep_logits_layer": True}, "--keep_logits_layer: the linear"),
        ({}, "the linear classifier starts anew"),  # of a pretraining, on its side
    ],
)
def test_linear_head_of_other_classes(started_from, flags, words, log):
    before, after = started_from(5, **flags)
    assert (before.shape[-1], after.shape[-1]) == (10, 5)
    assert words in log.text and "knows 10 classes, and here are 5" in log.text


def test_a_middle_layer_is_not_taken_for_the_last_one(started_from):
    """It has an offset and a ReLU, which the last layer of a head has not."""
    with pytest.raises(
        UserError, match=r"projection_head.*beta and 0 more variables there have no"
    ):
        started_from(train_mode="finetune", num_proj_layers=2, ft_proj_selector=-1)


def test_the_flags_of_another_network_are_told(started_from):
    with pytest.raises(UserError, match=r"start: it is another .* give --width_multiplier=0.07$"):
        started_from(train_mode="finetune", width_multiplier=0.1)
