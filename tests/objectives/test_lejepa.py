"""LeJEPA: Epps and Pulley's statistic as a loop, its limits, and the global batch."""

import cmath
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.training import per_replica
from tf_simclr.objectives.lejepa import LeJEPA, collapsed_statistic, epps_pulley, sigreg


@pytest.fixture
def objective(settings):
    objective = LeJEPA(settings(pretext="lejepa", projector_dim=5, lejepa_weight=0.1), 0)
    objective.counter.build()
    return objective


def slow_statistic(values):
    """Algorithm 1 with complex numbers, at all 17 points and by the trapezoidal rule."""
    points = np.linspace(-5, 5, 17)
    heights = []
    for t in points:
        characteristic = sum(cmath.exp(1j * t * x) for x in values) / len(values)
        gaussian = math.exp(-(t**2) / 2)
        heights.append(abs(characteristic - gaussian) ** 2 * gaussian)
    area = 0.0
    for left in range(16):
        width = points[left + 1] - points[left]
        area += width * (heights[left] + heights[left + 1]) / 2
    return len(values) * area


@given(seed=st.integers(0, 1000), images=st.integers(1, 6), scale=st.floats(0, 4))
def test_statistic(seed, images, scale):
    values = scale * np.random.default_rng(seed).normal(size=(images, 2)).astype(np.float32)
    expected = [slow_statistic(column) for column in values.T.astype(float)]
    np.testing.assert_allclose(epps_pulley(tf.constant(values)), expected, rtol=1e-4, atol=1e-5)


def test_statistic_tells_a_normal_distribution(rng):
    """From others with the same mean and variance, too."""
    normal = rng.normal(size=(2000, 1))
    two_points = np.sign(normal)
    statistics = [
        float(epps_pulley(tf.constant(values, tf.float32))[0])
        for values in (normal, two_points, 2 * normal, normal + 1)
    ]
    assert statistics[0] < 2
    assert min(statistics[1:]) > 50


def test_loss(objective, rng):
    """(1 - lambda) times the distance to the mean view plus lambda times the regularization."""
    z = rng.normal(size=(4, 2, 5)).astype(np.float32)
    prediction = 0.0
    for image in z:
        for view in image:
            prediction += sum((view - image.mean(0)) ** 2) / z.size
    slices = objective._slices().numpy()
    np.testing.assert_allclose(np.linalg.norm(slices, axis=0), 1, rtol=1e-5)
    tests = [
        slow_statistic(z[:, view].astype(float) @ direction)
        for view in (0, 1)
        for direction in slices.T[:3]
    ]
    expected = 0.9 * prediction + 0.1 * np.mean(tests)
    objective._slices = lambda: tf.constant(slices[:, :3])
    loss, _ = objective.loss_of({"embeddings": tf.constant(z)}, None, True)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_directions_are_others_in_each_step(objective):
    first = objective._slices()
    np.testing.assert_array_equal(objective._slices(), first)
    objective.begin_step()
    assert np.all(np.any(objective._slices() != first, 0))


def test_chance_is_one_embedding_for_all(objective):
    zeros, ones = tf.zeros([3, 2, 5]), tf.ones([3, 2, 5])
    loss, metrics = objective.loss_of({"embeddings": zeros}, None, True)
    np.testing.assert_allclose(loss, metrics["pretext_chance"], rtol=1e-5)
    np.testing.assert_allclose(loss, 0.1 * 3 * slow_statistic([0.0]), rtol=1e-5)
    assert collapsed_statistic() == pytest.approx(slow_statistic([0.0]))
    assert objective.loss_of({"embeddings": ones}, None, True)[0] > loss


def test_two_replicas_have_the_statistic_of_the_global_batch(objective, two_replicas, rng):
    z = tf.constant(rng.normal(size=(8, 2, 5)).astype(np.float32))
    expected, _ = objective.loss_of({"embeddings": z}, None, True)
    halves = per_replica(two_replicas, tf.split(z, 2))
    losses, _ = two_replicas.run(
        lambda half: objective.loss_of({"embeddings": half}, None, True), args=(halves,)
    )
    for loss in losses.values:
        np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_gradient_spreads_what_is_too_near(rng):
    """Embeddings of a tenth of the deviation grow along their gradient."""
    z = tf.constant(0.1 * rng.normal(size=(64, 5)).astype(np.float32))
    slices = tf.math.l2_normalize(tf.random.stateless_normal([5, 64], [0, 1]), 0)
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = sigreg(z, slices)
    stepped = z - 0.05 * tape.gradient(value, z)
    assert tf.math.reduce_std(stepped) > tf.math.reduce_std(z)
    assert sigreg(stepped, slices) < value
