"""What is computed once before the training: features, a teacher's logits, the linear head."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.helpers.training import Training, values_of
from tf_simclr.data import datasets
from tf_simclr.errors import UserError
from tf_simclr.evaluation.metrics import linear_probe
from tf_simclr.training import initialization
from tf_simclr.training.experiment import build_experiment

pytestmark = pytest.mark.usefixtures("shallow")


def experiment_of(settings, monkeypatch, **values):
    """An experiment whose teacher, if it needs one, is a linear map."""
    options = settings(labels_per_class=2, optimizer="momentum", **values)
    monkeypatch.setattr(Experiment, "_teacher", lambda self: None)
    return build_experiment(options)


FROZEN = {"train_mode": "finetune", "fine_tune_after_block": 4}


@pytest.mark.parametrize(
    ("values", "width"),
    [
        (FROZEN, 4),
        ({**FROZEN, "ft_proj_selector": 1}, 4),
        ({"train_mode": "distill", "distill_alpha": 0.5}, 10),
    ],
)
def test_computed_once_gives_the_same_training(settings, monkeypatch, values, width):
    """Features and logits that are computed once give what they give at each step."""
    options = settings(
        labels_per_class=2,
        optimizer="momentum",
        use_crop=False,
        use_flip=False,
        learning_rate=0.3,
        **values,
    )
    monkeypatch.setattr(Experiment, "_teacher", lambda self: Training(options).objective.teacher)
    experiment = build_experiment(options)
    parts = initialization.with_constants(experiment)
    assert parts[0].constants.shape == (parts[0].source.num_examples, width)

    def trained(parts):
        training = Training(options)
        training.batch_parts = parts
        losses = [metrics["total_loss"] for metrics in training.run(6)]
        return losses, values_of(training.objective)

    (losses, weights), (expected, same) = trained(parts), trained(experiment.data.batch_parts)
    assert losses == pytest.approx(expected, rel=1e-4) and losses[-1] != losses[0]
    for path, value in weights.items():
        np.testing.assert_allclose(value, same[path], atol=1e-5, err_msg=path)


@pytest.mark.parametrize(
    "values",
    [
        {"train_mode": "finetune"},
        {**FROZEN, "use_crop": True},
        {"train_mode": "distill", "max_shear": 0.1},
        {},
    ],
)
def test_nothing_is_computed_ahead_of_what_changes(settings, monkeypatch, values):
    experiment = experiment_of(
        settings, monkeypatch, **{"use_crop": False, "use_flip": False, **values}
    )
    assert [part.constants for part in initialization.with_constants(experiment)] == [None]


def test_too_much_to_keep(settings, monkeypatch):
    experiment = experiment_of(settings, monkeypatch, use_crop=False, use_flip=False, **FROZEN)
    monkeypatch.setattr(initialization, "MEMORY_LIMIT", 4 * 4 * 20 - 1)
    assert initialization.with_constants(experiment)[0].constants is None
    monkeypatch.setattr(initialization, "MEMORY_LIMIT", 4 * 4 * 20)
    assert initialization.with_constants(experiment)[0].constants.shape == (20, 4)


def test_the_linear_head_starts_as_a_probe(settings, monkeypatch):
    """As logistic regression on what it reads, over the labelled images."""
    experiment = experiment_of(
        settings,
        monkeypatch,
        train_mode="finetune",
        ft_proj_selector=1,
        probe_init_logits_layer=True,
    )
    initialization.initialize(experiment)
    objective, source = experiment.objective, experiment.data.train_source.labeled()
    images = tf.stack([objective.eval_example(image, 0)["image"] for image in source.records])
    features = objective.projection_head(objective.encoder(images)["final_avg_pool"])[1].numpy()
    expected = linear_probe.fit(features, source.labels).predict_log_proba(features)
    np.testing.assert_allclose(
        tf.nn.log_softmax(objective(images)["logits_sup"]), expected, atol=0.02
    )


def test_a_probe_of_one_class(settings, monkeypatch):
    experiment = experiment_of(
        settings, monkeypatch, train_mode="finetune", probe_init_logits_layer=True
    )
    digits = datasets.load(experiment.settings.data, "train")
    experiment.data.train_source = digits.take(np.flatnonzero(digits.labels == 3)[:5])
    with pytest.raises(UserError, match="at least two classes"):
        initialization.initialize(experiment)


@hypothesis_settings(deadline=None, max_examples=30)
@given(st.integers(0, 100), st.sets(st.integers(0, 5), min_size=2, max_size=6))
def test_linear_layer_of_a_probe(seed, classes):
    rng = np.random.default_rng(seed)
    labels = np.array(sorted(classes) * 5)
    features = rng.normal(3, 2, (len(labels), 4)) + labels[:, None]
    fitted = linear_probe.fit(features, labels)
    kernel, bias = linear_probe.as_linear_layer(fitted, 6)
    logits = features @ kernel + bias
    there = logits[:, sorted(classes)]
    p = np.exp(there - there.max(1, keepdims=True))
    np.testing.assert_allclose(
        p / p.sum(1, keepdims=True), fitted.predict_proba(features), atol=1e-4
    )
    absent = sorted({*range(6)} - classes)
    assert np.all(kernel[:, absent] == 0) and np.all(bias[absent] == bias.min())
