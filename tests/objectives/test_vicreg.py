"""VICReg: its three terms as slow loops, its chance level, and the global batch."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st

from tests.helpers.training import per_replica
from tf_simclr.objectives import collapse
from tf_simclr.objectives.vicreg import VICReg, mean_squared_covariance, variance_hinge


@pytest.fixture
def objective(settings):
    return VICReg(settings(pretext="vicreg", projector_dim=6), 0)


def slow_loss(first, second):
    """Equation 6 with the constants of section 4.2, a number at a time."""
    num_images, dim = first.shape
    invariance = 0.0
    for i in range(num_images):
        for j in range(dim):
            invariance += (first[i, j] - second[i, j]) ** 2 / (num_images * dim)
    return 25 * invariance + sum(
        25 * slow_variance(z) + slow_covariance(z) for z in (first, second)
    )


def slow_variance(z):
    """Equations 1 and 2."""
    total = 0.0
    for column in z.T:
        variance = sum((value - column.mean()) ** 2 for value in column) / (len(column) - 1)
        total += max(0.0, 1 - (variance + 1e-4) ** 0.5)
    return total / z.shape[1]


def slow_covariance(z):
    """Equations 3 and 4."""
    num_images, dim = z.shape
    total = 0.0
    for i in range(dim):
        for j in range(dim):
            products = (z[:, i] - z[:, i].mean()) * (z[:, j] - z[:, j].mean())
            if i != j:
                total += (sum(products) / (num_images - 1)) ** 2
    return total / dim


@given(
    seed=st.integers(0, 1000),
    images=st.integers(2, 9),
    dim=st.integers(1, 9),
    scale=st.floats(0, 3),
)
@example(seed=3, images=3, dim=1, scale=3.0)  # nothing but a large variance
def test_terms(seed, images, dim, scale):
    """Also of the covariance, which has two ways to the same number."""
    z = scale * np.random.default_rng(seed).normal(size=(images, dim)).astype(np.float32)
    np.testing.assert_allclose(variance_hinge(tf.constant(z)), slow_variance(z), atol=1e-4)
    covariance = mean_squared_covariance(tf.constant(z))
    np.testing.assert_allclose(covariance, slow_covariance(z), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("images", [4, 8])
def test_loss(objective, rng, images):
    z = rng.normal(size=(images, 2, 6)).astype(np.float32)
    loss, metrics = objective.loss_of({"embeddings": tf.constant(z)}, None, True)
    assert float(loss) == pytest.approx(slow_loss(z[:, 0], z[:, 1]), rel=1e-5)
    assert metrics["pretext_loss"] == loss


def test_chance_is_one_embedding_for_all(objective):
    loss, metrics = objective.loss_of({"embeddings": tf.ones([4, 2, 6])}, None, True)
    assert float(loss) == pytest.approx(float(metrics["pretext_chance"]), rel=1e-5)
    assert "collapsed" in objective.warning({"embedding_std": float(metrics["embedding_std"])})


def test_one_image_is_no_collapse(objective):
    """Of a part of a batch, or on a replica, or of all that is evaluated: it has no spread."""
    loss, _ = objective.loss_of({"embeddings": tf.ones([1, 2, 6])}, None, False)
    assert float(loss) == pytest.approx(49.5, rel=1e-5)
    assert collapse.gauge(tf.ones([1, 6])) == {}
    assert objective.warning({"pretext_loss": 1.0}) is None


def test_two_replicas_have_the_gradient_of_the_global_batch(objective, two_replicas, rng):
    z = tf.constant(rng.normal(size=(8, 2, 6)).astype(np.float32))

    def gradient(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            loss, _ = objective.loss_of({"embeddings": z}, None, True)
        return loss, tape.gradient(loss, z)

    expected_loss, expected = gradient(z)
    halves = per_replica(two_replicas, tf.split(z, 2))
    losses, gradients = two_replicas.run(gradient, args=(halves,))
    for loss in losses.values:
        np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    # Of the sum of two losses, each of which is that of the batch.
    np.testing.assert_allclose(tf.concat(gradients.values, 0) / 2, expected, atol=1e-5)


def test_layers_of_the_expander(settings):
    """As wide as the output, whatever --pretext_width says."""
    published = VICReg(settings(pretext="vicreg", projector_dim=0), 0)
    assert [dense.units for dense in published.projector.hidden] == [8192, 8192]
    assert published.projector.answer.units == 8192
