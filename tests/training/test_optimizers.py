"""LARS, the learning rate schedule and weight decay against the papers' formulas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.training import EACH, SEMI, linear_teacher
from tf_simclr.config import Config
from tf_simclr.config.length import total_steps
from tf_simclr.objectives import objective_class
from tf_simclr.training import layer_decay, optimizers


def slow_lars(w, gradients, rates, momentum, decay, adapted):
    """You et al. 2017, algorithm 1, with the trust coefficient 0.001."""
    v = np.zeros_like(w)
    for g, rate in zip(gradients, rates, strict=True):
        trust = 1.0
        if adapted:
            g = g + decay * w
            if np.linalg.norm(w) > 0 and np.linalg.norm(g) > 0:
                trust = 0.001 * np.linalg.norm(w) / np.linalg.norm(g)
        v = momentum * v + rate * trust * g
        w = w - v
    return w


@pytest.mark.parametrize("start", ["random", "zero"])
def test_lars_equals_the_loop(rng, start):
    shapes = {"kernel": (3, 4), "bias": (4,)}
    weights = {name: rng.normal(size=shape) * (start == "random") for name, shape in shapes.items()}
    gradients = {name: rng.normal(size=(5, *shape)) for name, shape in shapes.items()}
    rates = [0.5, 1.0, 2.0, 1.5, 0.1]
    variables = {name: keras.Variable(value, dtype="float32") for name, value in weights.items()}
    optimizer = optimizers.LARS(1.0, 0.9, 0.01, not_adapted={id(variables["bias"])})
    optimizer.build(list(variables.values()))
    for step, rate in enumerate(rates):
        optimizer.learning_rate = rate
        values = [tf.constant(gradients[name][step], tf.float32) for name in shapes]
        optimizer.apply(values, list(variables.values()))
    for name, adapted in (("kernel", True), ("bias", False)):
        expected = slow_lars(weights[name], gradients[name], rates, 0.9, 0.01, adapted)
        np.testing.assert_allclose(variables[name], expected, rtol=2e-5, atol=1e-6)


def test_lars_leaves_out_batch_norm_biases_and_the_classifier(settings):
    options = settings(optimizer="lars", weight_decay=0.5, se_ratio=0.25)
    objective = objective_class(options)(options, 10)
    objective.build_variables()
    optimizer = optimizers.make_optimizer(options, objective, 0.1)
    adapted, not_adapted = set(), set()
    for v, is_adapted in zip(objective.trainable_variables, optimizer.is_adapted, strict=True):
        (adapted if is_adapted else not_adapted).add(v.path)
    assert "model/encoder/stem/conv0/kernel" in adapted
    assert "model/projection_head/dense1/kernel" in adapted
    assert all(path.endswith("/kernel") for path in adapted)
    assert "model/supervised_head/bias" in not_adapted
    not_adapted.remove("model/supervised_head/kernel")
    assert all(path.endswith(("/gamma", "/beta", "/bias")) for path in not_adapted)
    head = objective.supervised_head.kernel.numpy()
    penalty = optimizers.weight_decay_penalty(options, objective)
    np.testing.assert_allclose(penalty, 0.25 * np.sum(head**2), rtol=1e-5)


@pytest.mark.parametrize("flags", [*EACH, *SEMI], ids=str)
def test_lars_adapts_no_bias(settings, shallow, flags):
    """It starts at 0 and would stay about there: adapted rates are in proportion to the norm."""
    options = settings(**flags, optimizer="lars")
    objective = objective_class(options)(options, 10, 8)
    objective.teacher = linear_teacher(options.data.image_size)
    objective.build_variables()
    not_adapted = optimizers._not_adapted(objective)
    biases = [v for v in objective.trainable_variables if v.path.endswith("/bias")]
    assert [v.path for v in biases if id(v) not in not_adapted] == []


def test_rates_by_depth_of_the_resnet(settings, four_groups):
    """The stem learns slowest; heads are in no level."""
    options = settings(optimizer="adam", layer_decay=0.5)
    objective = objective_class(options)(options, 10)
    objective.build_variables()
    factors = layer_decay.factors(objective.encoder, 0.5)
    assert factors.keys() == {id(v) for v in objective.encoder.variables}
    by_level = {factors[id(v)]: v.path.split("/")[2] for v in objective.encoder.variables}
    expected = ["stem", *(f"group{number}_block0" for number in range(1, 5))]
    assert [by_level[factor] for factor in sorted(by_level)] == expected
    assert sorted(by_level) == [0.5**distance for distance in (5, 4, 3, 2, 1)]


@pytest.mark.parametrize("name", ["adam", "momentum"])
def test_other_optimizers_decay_all_but_batch_norm(settings, name):
    options = settings(optimizer=name, weight_decay=0.5)
    objective = objective_class(options)(options, 10)
    objective.build_variables()
    expected = 0.0
    for v in objective.trainable_variables:
        if not v.path.endswith(("/gamma", "/beta")):
            expected += 0.25 * np.sum(v.numpy().astype(np.float64) ** 2)
    penalty = optimizers.weight_decay_penalty(options, objective)
    np.testing.assert_allclose(penalty, expected, rtol=1e-5)


def test_penalty_skips_what_is_frozen_or_unused(settings):
    options = settings(
        train_mode="finetune", optimizer="momentum", weight_decay=1.0, fine_tune_after_block=4
    )
    objective = objective_class(options)(options, 10)
    objective.build_variables()
    expected = sum(np.sum(v.numpy() ** 2) for v in objective.supervised_head.variables)
    penalty = optimizers.weight_decay_penalty(options, objective)
    np.testing.assert_allclose(penalty, expected / 2, rtol=1e-6)


def test_schedule_check_values():
    options = Config().replace(
        train_batch_size=512, train_epochs=100, learning_rate=1.0, warmup_epochs=10
    )
    schedule = optimizers.learning_rate_schedule(options, 50_000)
    assert (schedule.total, schedule.warmup) == (9766, 976)
    rates = {0: 0.0, 1: 0.0020492, 500: 1.024590, 976: 2.0, 5000: 1.132209, 9766: 0.0}
    for step, rate in rates.items():
        assert float(schedule(step)) == pytest.approx(rate, rel=1e-5, abs=1e-7)


def test_schedule_scaling_and_steps():
    options = Config().replace(
        train_batch_size=400, learning_rate=0.1, learning_rate_scaling="sqrt", warmup_epochs=0
    )
    assert float(optimizers.learning_rate_schedule(options, 1000)(0)) == pytest.approx(2.0)
    assert optimizers.learning_rate_schedule(options, 1000).total == 251
    assert optimizers.learning_rate_schedule(options.replace(train_steps=7), 1000).total == 7


@pytest.mark.parametrize(
    ("flags", "warmup"),
    [
        ({"warmup_epochs": 10}, 1),  # a tenth of 11 steps
        ({"warmup_epochs": 10, "long_warmup": "keep"}, 100),
        ({"warmup_epochs": 0.5}, 5),
    ],
)
def test_warmup_longer_than_the_training(settings, flags, warmup):
    options = settings(train_batch_size=100, train_epochs=1, train_steps=0, **flags)
    schedule = optimizers.learning_rate_schedule(options, 1000)
    assert (schedule.warmup, schedule.total) == (warmup, 11)


@pytest.mark.parametrize(
    ("flags", "num_steps"),
    [
        ({"train_epochs": 60, "train_steps": 0}, 47),
        ({"train_epochs": 60, "train_steps": 0, "min_steps": 200}, 200),
        ({"train_epochs": 60, "train_steps": 0, "min_steps": 30}, 47),
        ({"train_epochs": 60, "train_steps": 5, "min_steps": 200}, 5),
    ],
)
def test_number_of_steps(settings, flags, num_steps):
    """50 images in batches of 64: a few epochs of them are few steps."""
    options = settings(train_batch_size=64, **flags)
    assert total_steps(options.train, 50) == num_steps
    assert optimizers.learning_rate_schedule(options, 50).total == num_steps
