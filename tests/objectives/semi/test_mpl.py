"""Meta Pseudo Labels: a step done by hand, and what is refused."""

import types

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.configurations import parse_command_line
from tests.helpers.training import Training, same_batches, values_of
from tf_simclr.checkpoints.checkpointer import Checkpointer
from tf_simclr.errors import UserError
from tf_simclr.models.layers import repeated_pass
from tf_simclr.objectives.semi.mpl import draw_classes

pytestmark = pytest.mark.usefixtures("shallow", "eager")
FLAGS = {"train_mode": "semi", "semi_method": "mpl"}
RATE = 8.0 * 8 / 256  # --learning_rate=8 at a batch of 8
PLAIN = {"momentum": 0.0, "weight_decay": 0.0, "learning_rate": 8.0, "color_jitter_strength": 0.0}


def test_a_checkpoint_without_the_baseline(settings, tmp_path):
    """Those of earlier versions: it starts at 0, and nothing else may be missing."""
    training = Training(settings(**FLAGS, **PLAIN))
    objective = training.objective

    def checkpointer(path, network):
        return Checkpointer(tmp_path / path, network, training.optimizer, training.strategy)

    (average,) = objective.baseline.variables
    head = objective.teacher_network.supervised_head.variables[0]
    for path, missing in (("earlier", average), ("damaged", head)):
        variables = [v for v in objective.variables if v is not missing]
        checkpointer(path, types.SimpleNamespace(variables=variables)).save()
    assert checkpointer("earlier", objective).resume()
    assert float(average) == 0
    with pytest.raises(UserError, match=f"{head.path} is missing there"):
        checkpointer("damaged", objective).resume()


def cross_entropy(network, images, classes):
    with repeated_pass():
        logits = network(images, training=True)["logits_sup"]
    log_probabilities = tf.nn.log_softmax(logits)
    return -tf.gather(log_probabilities, classes, batch_dims=1)


def test_a_step(settings):
    """The student by the teacher's labels, then the teacher by what that did to the labels."""
    training = Training(settings(**FLAGS, **PLAIN, confidence_threshold=0.05))
    objective, (batch,) = training.objective, same_batches(training, 1)
    student, teacher = objective.learner, objective.teacher_network
    is_labeled = batch["label"].numpy() >= 0
    weak, strong = tf.unstack(objective.by_image(objective.images(batch)), axis=1)
    seen = tf.where(is_labeled[:, None, None, None], weak, strong)
    with repeated_pass():
        both = teacher(objective.images(batch), training=True)["logits_sup"]
    drawn = draw_classes(tf.nn.softmax(both[1::2]), batch["draw"])

    def loss_on_labels():
        losses = cross_entropy(student, seen, tf.maximum(batch["label"], 0))
        return tf.reduce_mean(losses[is_labeled])

    before = loss_on_labels()
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(cross_entropy(student, seen, drawn)[~is_labeled])
    student_gradients = tape.gradient(loss, [v.value for v in student.trainable_variables])
    objective.baseline.average.assign(0.2)
    old = values_of(objective)
    metrics = training.step(batch)
    new = values_of(objective)
    for v, gradient in zip(student.trainable_variables, student_gradients):
        np.testing.assert_allclose(new[v.path], old[v.path] - RATE * gradient, atol=1e-6)
    improvement = before - loss_on_labels()
    np.testing.assert_allclose(metrics["student_improvement"], improvement, atol=1e-6)
    assert abs(float(improvement)) > 1e-4
    usual = 0.99 * 0.2 + 0.01 * float(improvement)
    np.testing.assert_allclose(new["moving_baseline/average"], usual, rtol=1e-5)

    for v in teacher.trainable_variables:
        v.assign(old[v.path])
    with tf.GradientTape() as tape:
        with repeated_pass():
            outputs = objective.outputs(batch, objective.images(batch), True)
        own_loss, _ = objective.loss_of(outputs, batch["label"], True)
        feedback = -tf.gather(tf.nn.log_softmax(outputs["logits"][:, 1]), drawn, batch_dims=1)
        loss = own_loss + (improvement - usual) * tf.reduce_mean(feedback[~is_labeled])
    gradients = tape.gradient(loss, [v.value for v in teacher.trainable_variables])
    for v, gradient in zip(teacher.trainable_variables, gradients):
        np.testing.assert_allclose(new[v.path], old[v.path] - RATE * gradient, atol=1e-6)


def test_drawn_classes(rng):
    """As often as they are likely; nothing else than a class at the ends."""
    probabilities = tf.constant([[0.2, 0.5, 0.3]] * 1000)
    u = tf.constant(rng.random(1000).astype(np.float32))
    counts = np.bincount(draw_classes(probabilities, u), minlength=3) / 1000
    np.testing.assert_allclose(counts, [0.2, 0.5, 0.3], atol=0.05)
    ends = draw_classes(probabilities[:2], tf.constant([0.0, 0.9999999]))
    np.testing.assert_array_equal(ends, [0, 2])


def test_the_networks_start_alike(settings):
    objective = Training(settings(**FLAGS)).objective
    values = values_of(objective)
    for path, value in values.items():
        if path.startswith("model/"):
            for other in ("learner", "teacher"):
                np.testing.assert_array_equal(values[path.replace("model", other, 1)], value)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--accumulate_steps=2", "is updated in the middle of a step of --semi_method=mpl"),
        ("--precision=float16", "two optimizers can't share the scaled loss"),
    ],
)
def test_what_is_refused(flag, message):
    flags = [f"--{name}={value}" for name, value in FLAGS.items()]
    with pytest.raises(UserError, match=message):
        parse_command_line("--dataset=digits", flag, *flags)
