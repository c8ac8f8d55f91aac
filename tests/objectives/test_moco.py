"""MoCo: equation 1 as a loop, what gets no gradient, and keys in another order."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.training import Training, per_replica, same_batches, values_of
from tests.helpers.vectors import normalized
from tf_simclr import distribute
from tf_simclr.objectives import moco
from tf_simclr.objectives.moco import MoCo, on_other_replicas

pytestmark = pytest.mark.usefixtures("shallow")
MOCO = {"pretext": "moco"}


def slow_loss(queries, keys, past, temperature):
    """Equation 1, an image and a key at a time."""
    losses = []
    for query, key in zip(queries.astype(float), keys.astype(float)):
        similarities = [math.exp(sum(query * other) / temperature) for other in [key, *past]]
        losses.append(-math.log(similarities[0] / sum(similarities)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("enqueued", [0, 5, 12])
def test_loss(settings, rng, enqueued):
    """Also where the queue is empty, or has seen more than it keeps; then the keys are in it."""
    objective = MoCo(settings(**MOCO, projector_dim=4, feature_queue=9, pretext_temperature=0.2), 0)
    objective.queue.build([None, 4])
    past = normalized(rng, enqueued, 4)
    if enqueued:
        objective.queue.enqueue(tf.constant(past))
    queries, keys = normalized(rng, 3, 4), normalized(rng, 3, 4)
    outputs = {"queries": tf.constant(queries), "keys": tf.constant(keys)}
    loss, metrics = objective.loss_of(outputs, None, True)
    past = past[-9:]
    np.testing.assert_allclose(loss, slow_loss(queries, keys, past, 0.2), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics["pretext_chance"], math.log(len(past) + 1), atol=1e-6)
    kept, _ = objective.queue.negatives()
    assert all(np.isclose(kept, key).all(1).any() for key in keys)
    objective.loss_of(outputs, None, False)
    np.testing.assert_array_equal(objective.queue.negatives()[0], kept)  # an evaluation adds none


def test_keys_get_no_gradient(settings, eager):
    training = Training(settings(**MOCO, memory_momentum=0.75))
    objective = training.objective
    batch, *_ = same_batches(training, 1)
    training.step(batch)  # the queue is no longer empty
    name = "projector/answer/kernel"
    keys, queries = (values_of(objective)[f"{prefix}{name}"] for prefix in ("key_network/", ""))
    with tf.GradientTape() as tape:
        tape.watch([v.value for v in objective.key_network.variables])
        loss, _ = objective.loss(batch)
    followed = values_of(objective)[f"key_network/{name}"]
    np.testing.assert_allclose(followed, 0.75 * keys + 0.25 * queries, rtol=1e-5, atol=1e-7)
    frozen_ids = {id(v) for v in objective.key_network.variables}
    assert not frozen_ids & {id(v) for v in objective.trainable_variables}
    of_queries, of_keys = tape.gradient(
        loss,
        (
            [v.value for v in objective.trainable_variables],
            [v.value for v in objective.key_network.variables],
        ),
    )
    assert all(gradient is not None for gradient in of_queries)
    assert all(gradient is None for gradient in of_keys)


def test_the_first_view_asks_for_the_second(settings, eager):
    objective = Training(settings(**MOCO)).objective
    images = np.random.default_rng(0).random((6, 16, 16, 3)).astype(np.float32)
    queries = objective.outputs({}, tf.constant(images), False)["queries"]
    keys = objective.targets({}, tf.constant(images), False)["keys"]
    for actual, seen in ((queries, images[::2]), (keys, images[1::2])):
        expected = tf.math.l2_normalize(objective.embed(tf.constant(seen), False), -1)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("step", [0, 1])
def test_shuffled_keys(two_replicas, step):
    """They come back in their order, and are computed on replicas where others are."""
    values = tf.range(8.0)[:, None]

    def on_replica(values):
        replica = tf.cast(distribute.replica_id(), tf.float32)
        return on_other_replicas(lambda x: x + 100 * replica, values, tf.constant([3, step]))

    halves = per_replica(two_replicas, tf.split(values, 2))
    results = two_replicas.run(on_replica, args=(halves,))
    results = tf.concat(results.values, 0).numpy()[:, 0]
    np.testing.assert_array_equal(results % 100, np.arange(8))
    computed_on = results // 100
    assert computed_on.sum() == 4
    assert 0 < computed_on[:4].sum() < 4


def test_xla_compiles_the_shuffle(monkeypatch):
    """As a TPU needs it: which replica it is is no constant there."""
    monkeypatch.setattr(distribute, "replica_count", lambda: 2)
    monkeypatch.setattr(distribute, "all_gather", lambda x: tf.concat([x, x + 4], 0))

    @tf.function(jit_compile=True)
    def on_replica(replica):
        monkeypatch.setattr(distribute, "replica_id", lambda: replica)
        results = on_other_replicas(tf.identity, tf.range(4)[:, None], tf.constant([3, 1]))
        assert results.shape == [4, 1]  # known when it is traced
        return results

    results = [on_replica(tf.constant(replica)) for replica in range(2)]
    assert np.shape(results) == (2, 4, 1)


@pytest.mark.parametrize("global_bn", [False, True])
def test_keys_are_shuffled_where_batch_norm_is_of_a_replica(
    settings, eager, two_replicas, monkeypatch, global_bn
):
    shuffled = []

    def record(*arguments):
        shuffled.append(True)
        return on_other_replicas(*arguments)

    monkeypatch.setattr(moco, "on_other_replicas", record)
    training = Training(settings(**MOCO, global_bn=global_bn), two_replicas)
    metrics = training.run(2)
    assert all(np.isfinite(list(each.values())).all() for each in metrics)
    assert bool(shuffled) != global_bn
