"""BYOL: the loss as a loop, what gets no gradient, the schedule, the views of table 6."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.training import Training, same_batches, values_of
from tf_simclr.data import blur, color
from tf_simclr.objectives.byol import FIRST, SECOND, prediction_loss, target_momentum

pytestmark = pytest.mark.usefixtures("shallow")
BYOL = {"pretext": "byol"}


@given(seed=st.integers(0, 1000), images=st.integers(1, 5))
def test_loss(seed, images):
    """Equation 2 for both views: 2 - 2 cos of what is predicted and what is."""
    rng = np.random.default_rng(seed)
    predictions, targets = rng.normal(size=(2, images, 2, 4)).astype(np.float32)
    total = 0.0
    for i in range(images):
        for view in (0, 1):
            q, z = predictions[i, view].astype(float), targets[i, view].astype(float)
            cosine = sum(q * z) / math.sqrt(sum(q * q)) / math.sqrt(sum(z * z))
            total += 2 - 2 * cosine
    loss = prediction_loss(tf.constant(predictions), tf.constant(targets))
    np.testing.assert_allclose(loss, total / images, rtol=1e-5, atol=1e-5)


def test_schedule():
    """1 - (1 - tau) (cos(pi k / K) + 1) / 2: tau at the start, 1 at the end and after it."""
    values = [float(target_momentum(tf.constant(step), 8, 0.9)) for step in (0, 2, 4, 8, 9)]
    quarter = 1 - 0.1 * (math.cos(math.pi / 4) + 1) / 2
    assert values == pytest.approx([0.9, quarter, 0.95, 1.0, 1.0], abs=1e-6)


def test_each_view_predicts_the_other(settings):
    objective = Training(settings(**BYOL)).objective
    first, second = tf.constant([[1.0, 0.0]]), tf.constant([[0.0, 1.0]])
    views = tf.stack([first, second], 1)
    same = {"predictions": views, "projections": views}
    swapped = {"predictions": views, "projections": views[:, ::-1]}
    assert float(objective.loss_of(same, None, True)[0]) == 4
    assert float(objective.loss_of(swapped, None, True)[0]) == 0


def test_the_target_network_gets_no_gradient(settings, eager):
    """But follows: by tau of the number of steps, from the weights of the step before."""
    training = Training(settings(**BYOL, byol_momentum=0.5, train_steps=4))
    objective = training.objective
    batch, *_ = same_batches(training, 1)
    with tf.GradientTape() as tape:
        tape.watch([v.value for v in objective.variables])
        loss, _ = objective.part_loss(batch, True)
    variables = [v.value for v in objective.key_network.variables]
    assert tape.gradient(loss, variables) == [None] * len(variables)
    frozen_ids = {id(v) for v in objective.key_network.variables}
    assert not frozen_ids & {id(v) for v in objective.trainable_variables}

    name = "projector/answer/kernel"
    start = values_of(objective)[name]
    training.step(batch)  # which begins with what is equal
    online = values_of(objective)[name]
    np.testing.assert_allclose(values_of(objective)[f"key_network/{name}"], start, rtol=1e-6)
    training.step(batch)
    tau = float(target_momentum(tf.constant(1), 4, 0.5))
    followed = values_of(objective)[f"key_network/{name}"]
    np.testing.assert_allclose(followed, tau * start + (1 - tau) * online, rtol=1e-5, atol=1e-7)
    assert int(objective.counter.steps) == 2


def test_micro_batches_move_the_target_once(settings, eager):
    training = Training(settings(**BYOL, accumulate_steps=4))
    training.run(1)
    assert int(training.objective.counter.steps) == 1


def test_views_have_colors_of_their_own(settings):
    """T blurs always, T' seldom, and T' alone solarizes."""
    options = settings(**BYOL, use_blur=True, image_size=20, grayscale_probability=0).augment
    rng = np.random.default_rng(0)
    images = tf.constant(rng.integers(0, 256, (2, 2, 20, 20, 3)).astype(np.uint8))
    u = np.full((2, 2, 13), 0.9, np.float32)  # neither jitter nor gray
    u[0, :, 10] = 0.05  # the blur of both views, and of the first view alone
    u[0, :, 12] = 0.1
    seen = color.network_input({"views": images, "numbers": u}, options, (FIRST, SECOND))
    seen = tf.reshape(seen, images.shape)
    for index in np.ndindex(2, 2):
        planes = tf.transpose(tf.cast(images[index], tf.float32) / 255, [2, 0, 1])
        if index != (1, 1):
            planes = blur.blur(planes, color.between(0.9, *color.BLUR_SIGMA))
        expected = np.transpose(planes, [1, 2, 0])
        if index == (0, 1):
            expected = np.where(expected < 0.5, expected, 1 - expected)
        np.testing.assert_allclose(seen[index], expected, atol=1e-5)


def test_saturation_of_table_6():
    """With strength 0.5 it changes by 0.2, brightness and contrast by 0.4."""
    planes = tf.constant([0.5, 0.4, 0.3])[:, None, None]
    u = tf.constant([0.5, 0.6, 0.1, 0.7, 0.5, 0.5, 0.0, 0.5])  # saturation alone, at its least
    changed = color.jitter(planes, tf.unstack(u), 0.5, relative_saturation=FIRST.saturation)
    np.testing.assert_allclose(changed, color.saturation(planes, tf.constant(0.8)), atol=1e-6)
