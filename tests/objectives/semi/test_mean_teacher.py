"""Mean Teacher: the consistency as a loop, its ramp, and the teacher, which gets no gradient."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.training import Training, same_batches, values_of
from tests.helpers.vectors import softmax
from tf_simclr.models.layers import repeated_pass
from tf_simclr.objectives.semi.mean_teacher import MeanTeacher
from tf_simclr.objectives.semi.ramps import sigmoid

pytestmark = pytest.mark.usefixtures("shallow")
FLAGS = {"train_mode": "semi", "semi_method": "mean_teacher"}


def test_loss(settings, rng):
    """Images with a label take part."""
    student, teacher = rng.normal(size=(2, 5, 10)).astype(np.float32)
    total = 0.0
    for first, second in zip(student, teacher):
        differences = softmax(first) - softmax(second)
        total += sum(difference**2 for difference in differences) / 10
    objective = MeanTeacher(settings(**FLAGS), 10)
    outputs = {"logits": tf.constant(student)[:, None], "teacher": tf.constant(teacher)}
    loss, _ = objective.unlabeled_loss(outputs, tf.constant([1.0, 0, 1, 1, 0]), True)
    np.testing.assert_allclose(loss, total / 5, rtol=1e-5)


def test_ramp():
    values = [float(sigmoid(tf.constant(progress), 0.4)) for progress in (0.0, 0.2, 0.4, 1.0)]
    assert values == pytest.approx([math.exp(-5), math.exp(-1.25), 1, 1])


def test_the_teacher_is_the_average_of_the_other_view(settings, eager):
    training = Training(settings(**FLAGS, color_jitter_strength=0))
    objective = training.objective
    batch, *_ = same_batches(training, 1)
    training.step(batch)
    before = values_of(objective)
    images = objective.images(batch)
    teacher = objective.targets(batch, images, True)["teacher"]
    with repeated_pass():
        expected = objective(tf.constant(images.numpy()[1::2]), training=True)["logits_sup"]
    np.testing.assert_allclose(teacher, expected, rtol=1e-5, atol=1e-6)
    for path, value in values_of(objective).items():  # also the statistics of batch norm
        np.testing.assert_array_equal(value, before[path], err_msg=path)
    with tf.GradientTape() as tape:
        loss, _ = objective.part_loss(batch, True)
    averages = [v.value for layer in objective.exported_layers() for v in layer.weights]
    assert tape.gradient(loss, averages) == [None] * len(averages)
