"""Values that are not finite: named, and left out on request. Extreme finite ones stay so."""

import itertools
import types

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.training import WITH_STATE, Training, values_of
from tf_simclr.data import pipeline
from tf_simclr.errors import Diverged
from tf_simclr.objectives import nt_xent
from tf_simclr.training import loop


def state(training):
    return {
        **values_of(training.objective),
        **{v.path: v.numpy() for v in training.optimizer.variables},
    }


def poisoned(batch):
    """The batch with a pixel that is no number."""
    name, images = next(
        (name, value)
        for name, value in batch.items()
        if value.dtype.is_floating and value.shape.rank > 2
    )
    bad = tf.tensor_scatter_nd_update(images, [[0] * images.shape.rank], [float("nan")])
    return {**batch, name: bad}


def batches_of(training, count):
    """Batches of the training with float images, which can be poisoned."""
    batches = itertools.islice(
        pipeline.training_batches(
            training.batch_parts, training.objective.example, 0, 0, tf.distribute.get_strategy()
        ),
        count,
    )
    return [
        {
            name: tf.image.convert_image_dtype(value, tf.float32)
            if value.dtype == tf.uint8
            else value
            for name, value in batch.items()
            if name != "numbers"
        }
        for batch in batches
    ]


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
def test_a_step_that_is_not_finite_is_as_if_it_had_not_been(settings, shallow, variant):
    """Weights, statistics, memory, momentum encoder and the optimizer's slots, bit for bit."""
    training = Training(settings(skip_nonfinite=1, **variant))
    first, second = batches_of(training, 2)
    assert training.step(first)["skipped"] == 0
    before = state(training)
    row = training.step(poisoned(second))
    assert row["skipped"] == 1 and not np.isfinite(row["total_loss"])
    after = state(training)
    assert [name for name in before if before[name].tobytes() != after[name].tobytes()] == []
    row = training.step(second)
    assert row["skipped"] == 0 and np.isfinite(list(row.values())).all()
    assert any(np.any(before[name] != value) for name, value in state(training).items())


def test_on_two_replicas(settings, shallow, two_replicas):
    """One of which alone has the bad image."""
    training = Training(settings(skip_nonfinite=1, train_mode="supervised"), two_replicas)
    (first,) = batches_of(training, 1)
    halves = [
        {name: value[4 * replica :][:4] for name, value in first.items()} for replica in (0, 1)
    ]

    def distributed(bad):
        parts = [halves[0], poisoned(halves[1]) if bad else halves[1]]
        return {
            name: two_replicas.experimental_distribute_values_from_function(
                lambda context, name=name: parts[context.replica_id_in_sync_group][name]
            )
            for name in first
        }

    training.step(distributed(False))
    before = state(training)
    assert training.step(distributed(True))["skipped"] == 1
    assert [
        name for name, value in state(training).items() if value.tobytes() != before[name].tobytes()
    ] == []
    assert training.step(distributed(False))["skipped"] == 0


class Run:
    """What the check of a step looks at."""

    def __init__(self, skip=0, weights=(1.0, 2.0)):
        self.settings = types.SimpleNamespace(train=types.SimpleNamespace(skip_nonfinite=skip))
        self.checkpoints = types.SimpleNamespace(
            skipped=tf.Variable(0, dtype=tf.int64), last="runs/x/ckpt-4"
        )
        self.objective = types.SimpleNamespace(
            variables=[
                types.SimpleNamespace(path=path, numpy=lambda w=w: np.array(w))
                for path, w in zip("ab", weights)
            ]
        )


@pytest.mark.parametrize(
    ("metrics", "weights", "said"),
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
def test_what_is_not_finite_is_named(metrics, weights, said):
    with pytest.raises(Diverged, match=f"step 7: not finite: {said}"):
        loop._check_finite(metrics, 7, Run(weights=weights))
    with pytest.raises(Diverged, match="step 7: not finite: b; "):
        loop._check_weights(Run(weights=(1.0, float("inf"))).objective, 7, Run().checkpoints)


def test_steps_left_out_are_counted(log):
    run = Run(skip=2)
    for step in (3, 5):
        loop._check_finite({"total_loss": float("nan"), "skipped": 1.0}, step, run)
        loop._check_finite({"total_loss": 1.0, "skipped": 0.0}, step + 1, run)
    assert "step 5: not finite: total_loss; the step is left out, 2 of at most 2" in log.text
    with pytest.raises(Diverged, match="step 9: not finite: the weights after it"):
        loop._check_finite({"total_loss": 1.0, "skipped": 1.0}, 9, run)


@pytest.mark.parametrize("temperature", [1e-3, 1e3])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_extreme_logits_stay_finite(temperature, scale):
    """Also where the exponential of a logit is beyond float32."""
    views = tf.Variable(scale * tf.random.stateless_normal([6, 2, 4], [0, 1]))
    with tf.GradientTape() as tape:
        embeddings = tf.math.l2_normalize(views, -1) if scale == 1.0 else tf.identity(views)
        loss, metrics = nt_xent.nt_xent(embeddings, embeddings, temperature)
    assert (
        np.isfinite([loss, *metrics.values()]).all()
        and np.isfinite(tape.gradient(loss, views)).all()
    )
