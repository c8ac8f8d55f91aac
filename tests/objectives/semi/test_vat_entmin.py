"""VAT: the power iteration finds the worst direction of a network whose worst one is known."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.configurations import parse_command_line
from tests.helpers.vectors import softmax
from tf_simclr.data import noise
from tf_simclr.errors import UserError
from tf_simclr.objectives.semi.vat_entmin import VATEntMin, divergences, entropies, worst_direction

pytestmark = pytest.mark.usefixtures("shallow")
FLAGS = {"train_mode": "semi", "semi_method": "vat_entmin"}


def test_terms(rng):
    logits, others = (2 * rng.normal(size=(2, 6, 5))).astype(np.float32)
    pairs = [(softmax(first), softmax(second)) for first, second in zip(logits, others)]
    expected = [sum(p * math.log(p / q) for p, q in zip(*pair)) for pair in pairs]
    np.testing.assert_allclose(divergences(logits, others), expected, rtol=1e-4, atol=1e-6)
    expected = [-sum(p * math.log(p) for p in first) for first, _ in pairs]
    np.testing.assert_allclose(entropies(logits), expected, rtol=1e-5)


def test_worst_direction(rng):
    """Of two classes there is one direction that matters, whatever the iteration starts with."""
    weights = tf.constant(rng.normal(size=(27, 2)), tf.float32)
    images = tf.constant(rng.random((3, 3, 3, 3)), tf.float32)
    start = tf.constant(rng.normal(size=(3, 3, 3, 3)), tf.float32)

    def predict(images):
        return tf.reshape(images, [-1, 27]) @ weights

    direction = worst_direction(predict, images, predict(images), start)
    direction = tf.reshape(direction, [-1, 27])
    np.testing.assert_allclose(tf.norm(direction, axis=1), 1, rtol=1e-5)
    gap = weights[:, 0] - weights[:, 1]
    cosines = tf.abs(tf.linalg.matvec(direction, gap)) / tf.norm(gap)
    assert np.all(cosines > 0.999)


def test_loss(settings, rng):
    """Of all images; the clean prediction gets no gradient from its divergence."""
    objective = VATEntMin(settings(**FLAGS), 10)
    logits = tf.constant(rng.normal(size=(4, 1, 10)), tf.float32)
    adversarial = tf.constant(rng.normal(size=(4, 10)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([logits, adversarial])
        outputs = {"logits": logits, "adversarial": adversarial}
        loss, metrics = objective.unlabeled_loss(outputs, tf.constant([1.0, 1, 0, 1]), True)
    expected = np.mean(divergences(logits[:, 0], adversarial) + entropies(logits[:, 0]))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert tape.gradient(metrics["vat_loss"], logits) is None
    assert np.any(tape.gradient(loss, adversarial) != 0)


def test_length_of_the_perturbation(settings):
    """3 of 32 pixels, in proportion to the side."""
    assert VATEntMin(settings(**FLAGS), 10).epsilon == 1.5
    assert VATEntMin(settings(**FLAGS, vat_epsilon=8.0), 10).epsilon == 4.0


def test_noise_belongs_to_an_image(rng):
    seeds = tf.constant(rng.integers(0, 1000, (4, 2)), tf.int32)
    values = noise.normal(seeds, [50, 60])
    assert values.shape == [4, 50, 60]
    np.testing.assert_array_equal(noise.normal(seeds[2:3], [50, 60])[0], values[2])
    assert abs(float(tf.reduce_mean(values))) < 0.05
    assert abs(float(tf.math.reduce_std(values)) - 1) < 0.05


def test_half_precision_is_refused():
    flags = [f"--{name}={value}" for name, value in FLAGS.items()]
    with pytest.raises(UserError, match="changes images by a thousandth, which is less than"):
        parse_command_line("--dataset=digits", "--precision=bfloat16", *flags)
