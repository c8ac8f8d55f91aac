"""Values that are not finite: named, and left out on request. Extreme finite ones stay so."""

import itertools
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.training import WITH_STATE, Training, split_batch, state_of
from tf_simclr import config
from tf_simclr.errors import Diverged
from tf_simclr.objectives import nt_xent
from tf_simclr.training import divergence


def is_images(value):
    return value.dtype.is_floating and value.shape.rank > 2


def poisoned(batch):
    """The batch with a pixel that is no number."""
    name, images = next((name, value) for name, value in batch.items() if is_images(value))
    bad = tf.tensor_scatter_nd_update(images, [[0] * images.shape.rank], [float("nan")])
    return {**batch, name: bad}


def batches_of(training, count):
    """Batches of the training with float images, which can be poisoned."""
    return [with_float_images(batch) for batch in itertools.islice(training.batches(), count)]


def with_float_images(batch):
    """The batch without numbers of the color augmentation, which are for uint8 images."""
    tensors = {name: value for name, value in batch.items() if name != "numbers"}
    for name, value in tensors.items():
        if value.dtype == tf.uint8:
            tensors[name] = tf.image.convert_image_dtype(value, tf.float32)
    return tensors


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"train_mode": "finetune"},
        {"train_mode": "distill"},
        {"accumulate_steps": 2},
        *WITH_STATE,
    ],
    ids=str,
)
def test_a_step_that_is_not_finite_is_as_if_it_had_not_been(settings, shallow, request, variant):
    """Weights, statistics, memory, momentum encoder and the optimizer's slots, bit for bit."""
    if variant:  # the first one is compiled; a few steps are sooner done than traced
        request.getfixturevalue("eager")
    training = Training(settings(skip_nonfinite=1, **variant))
    first, second = batches_of(training, 2)
    assert training.step(first)["skipped"] == 0
    before = state_of(training)
    metrics = training.step(poisoned(second))
    assert metrics["skipped"] == 1 and not np.isfinite(metrics["total_loss"])
    assert changed(before, training) == []
    metrics = training.step(second)
    assert metrics["skipped"] == 0 and np.isfinite(list(metrics.values())).all()
    assert changed(before, training)


def changed(before, training):
    """The paths of the variables that are not what they were, to the bit."""
    after = state_of(training)
    return [path for path in before if before[path].tobytes() != after[path].tobytes()]


def test_on_two_replicas(settings, shallow, eager, two_replicas):
    """One of which alone has the bad image."""
    options = settings(skip_nonfinite=1, train_mode="supervised")
    training = Training(options, two_replicas)
    (batch,) = batches_of(Training(options), 1)
    good = split_batch(two_replicas, batch)
    bad = split_batch(two_replicas, poisoned(batch))
    training.step(good)
    before = state_of(training)
    assert training.step(bad)["skipped"] == 1
    assert changed(before, training) == []
    assert training.step(good)["skipped"] == 0


def make_checkpoints():
    return types.SimpleNamespace(skipped=tf.Variable(0, dtype=tf.int64), last="runs/x/ckpt-4")


def make_objective(a, b):
    """An objective with two weights."""
    weights = [keras.Variable(a, name="a"), keras.Variable(b, name="b")]
    return types.SimpleNamespace(variables=weights, settings=config.build({"learning_rate": 0.3}))


def check_metrics(metrics, step, checkpoints, weights=(1.0, 2.0), max_skipped=0):
    divergence.check_metrics(
        metrics,
        step,
        objective=make_objective(*weights),
        checkpoints=checkpoints,
        max_skipped=max_skipped,
    )


@pytest.mark.parametrize(
    ("metrics", "weights", "message"),
    [
        (
            {"contrast_loss": float("nan"), "total_loss": float("nan"), "accuracy": 0.0},
            (1.0, 2.0),
            r"contrast_loss and 1 more; .*ckpt-4",
        ),
        (
            {"gradient_norm": float("inf")},
            (1.0, float("nan")),
            "gradient_norm, first of the weights b; ",
        ),
    ],
)
def test_metrics_that_are_not_finite_are_named(metrics, weights, message):
    with pytest.raises(Diverged, match=f"step 7: not finite: {message}"):
        check_metrics(metrics, 7, make_checkpoints(), weights)


def test_weights_that_are_not_finite_are_named():
    objective = make_objective(1.0, float("inf"))
    with pytest.raises(
        Diverged, match=r"step 7: not finite: b; .*a third of.* --learning_rate=0.1,"
    ):
        divergence.check_weights(objective, 7, make_checkpoints())


def test_the_checkpoint_to_go_back_to_is_named():
    objective, checkpoints = make_objective(1.0, float("inf")), make_checkpoints()
    with pytest.raises(Diverged, match=r"; the last good checkpoint is runs/x/ckpt-4\. Try"):
        divergence.check_weights(objective, 7, checkpoints)
    checkpoints.last = None
    with pytest.raises(Diverged, match=r"; there is no good checkpoint yet\. Try"):
        divergence.check_weights(objective, 7, checkpoints)


def test_steps_left_out_are_counted(log):
    checkpoints = make_checkpoints()
    for step in (3, 5):
        bad, good = (
            {"total_loss": float("nan"), "skipped": 1.0},
            {"total_loss": 1.0, "skipped": 0.0},
        )
        check_metrics(bad, step, checkpoints, max_skipped=2)
        check_metrics(good, step + 1, checkpoints, max_skipped=2)
    assert "step 5: not finite: total_loss; the step is left out, 2 of at most 2" in log.text
    with pytest.raises(Diverged, match="step 9: not finite: the weights after it"):
        check_metrics({"total_loss": 1.0, "skipped": 1.0}, 9, checkpoints, max_skipped=2)


@pytest.mark.parametrize("temperature", [1e-3, 1e3])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_extreme_logits_stay_finite(temperature, scale):
    """Also where the exponential of a logit is beyond float32."""
    views = tf.Variable(scale * tf.random.stateless_normal([6, 2, 4], [0, 1]))
    with tf.GradientTape() as tape:
        embeddings = tf.math.l2_normalize(views, -1) if scale == 1.0 else tf.identity(views)
        loss, metrics = nt_xent.nt_xent(embeddings, embeddings, temperature)
    assert np.isfinite([loss, *metrics.values()]).all()
    assert np.isfinite(tape.gradient(loss, views)).all()
