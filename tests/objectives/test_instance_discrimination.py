"""Instance discrimination: softmax, NCE and proximal term as loops, and the memory bank."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.training import Training, per_replica, same_batches
from tests.helpers.vectors import normalized
from tf_simclr import distribute
from tf_simclr.models.memory_bank import MemoryBank
from tf_simclr.objectives.bank_task import nce_loss
from tf_simclr.objectives.instance_discrimination import InstanceDiscrimination

pytestmark = pytest.mark.usefixtures("shallow")
TASK = {"pretext": "instance_discrimination"}
TAU = 0.2


def make(settings, **flags):
    """Of nine images, with a bank."""
    options = settings(**TASK, projector_dim=4, pretext_temperature=TAU, **flags)
    objective = InstanceDiscrimination(options, 0, 9)
    objective.bank.build([None, 4])
    objective.counter.build()
    return objective


def outputs_of(rng, index):
    features = normalized(rng, len(index), 4)
    return {"features": tf.constant(features), "index": tf.constant(index, tf.float32)}


def slow_nce(positives, negatives, normalizer, num_images):
    """Equations 6 and 7: h of a probability P among m draws with the probability 1 / n."""
    total = 0.0
    for positive, others in zip(positives, negatives):
        noise = len(others) / num_images
        p = math.exp(positive) / normalizer
        total -= math.log(p / (p + noise))
        for other in others:
            p = math.exp(other) / normalizer
            total -= math.log(1 - p / (p + noise))
    return total / len(positives)


@given(
    seed=st.integers(0, 1000),
    images=st.integers(1, 4),
    drawn=st.integers(1, 5),
    normalizer=st.floats(0.1, 1e4),
)
def test_nce(seed, images, drawn, normalizer):
    rng = np.random.default_rng(seed)
    positives = rng.normal(size=images).astype(np.float32)
    negatives = rng.normal(size=(images, drawn)).astype(np.float32)
    loss = nce_loss(tf.constant(positives), tf.constant(negatives), math.log(normalizer), 12)
    expected = slow_nce(positives.astype(float), negatives.astype(float), normalizer, 12)
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-5)


def test_softmax(settings, rng):
    """Equation 2, with all images that there are; and the proximal term of equation 10."""
    objective = make(settings, proximal_weight=30.0)
    assert objective.num_negatives == 0  # 4096 would be more than all
    outputs, bank = outputs_of(rng, [3, 8]), objective.bank.values().numpy().astype(float)
    loss, metrics = objective.loss_of(outputs, None, False)
    total, moved = 0.0, 0.0
    for feature, i in zip(outputs["features"].numpy().astype(float), (3, 8)):
        similarities = [math.exp(sum(feature * other) / TAU) for other in bank]
        total -= math.log(similarities[i] / sum(similarities)) / 2
        moved += sum((feature - bank[i]) ** 2) / 2
    np.testing.assert_allclose(metrics["pretext_loss"], total, rtol=1e-5)
    np.testing.assert_allclose(loss, total + 30 * moved, rtol=1e-5)
    np.testing.assert_allclose(metrics["pretext_chance"], math.log(9), rtol=1e-6)


def test_the_normalizer_is_of_the_batch(settings, rng):
    """Equation 8: n times the mean of exp(v f / tau) over the drawn images, a constant."""
    objective = make(settings, nce_negatives=5)
    outputs = outputs_of(rng, [0, 4, 7])
    bank, drawn = objective.bank.values().numpy(), draw(objective)
    values = np.exp(outputs["features"].numpy() @ bank[drawn].T / TAU)
    positives = np.sum(outputs["features"].numpy() * bank[[0, 4, 7]], 1) / TAU
    expected = slow_nce(positives, np.log(values), 9 * values.mean(), 9)
    loss, metrics = objective.loss_of(outputs, None, True)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    assert metrics["pretext_loss"] == loss
    logits = tf.constant(np.log(values))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        log_normalizer = objective._log_normalizer(logits)
    assert tape.gradient(log_normalizer, logits) is None
    objective.begin_step()
    assert np.any(draw(objective) != drawn)


@pytest.mark.parametrize("temperature", [0.07, 0.005])
def test_the_normalizer_of_all_replicas(settings, rng, two_replicas, temperature):
    """Also with a temperature at which exp(1 / tau) is no float32."""
    objective = make(settings, nce_negatives=5)
    logits = (rng.uniform(-1, 1, [4, 5]) / temperature).astype(np.float32)
    logits[3, 0] = 1 / temperature
    expected = math.log(9 * np.exp(logits.astype(float)).mean())
    halves = per_replica(two_replicas, tf.split(logits, 2))
    distributed = two_replicas.run(objective._log_normalizer, args=(halves,))
    values = [objective._log_normalizer(tf.constant(logits)), *distributed.values]
    np.testing.assert_allclose(values, [expected] * 3, rtol=1e-6)


def draw(objective):
    """The images that are drawn in the step that has begun."""
    seed = [objective.settings.train.seed, int(objective.counter.steps)]
    return tf.random.stateless_uniform([5], seed, 0, 9, tf.int64).numpy()


def test_chance_of_nce_is_that_of_equal_probabilities(settings, rng):
    objective = make(settings, nce_negatives=5)
    equal = tf.fill([9, 4], 0.5)
    objective.bank.features.assign(equal)
    outputs = {"features": equal[:2], "index": tf.constant([0.0, 1.0])}
    loss, metrics = objective.loss_of(outputs, None, False)
    np.testing.assert_allclose(loss, metrics["pretext_chance"], rtol=1e-5)


def test_bank(rng):
    """Half of the old, half of the new, of length 1; twice the same image: the mean of both."""
    bank = MemoryBank(5, 0.5, seed=(0, 1))
    bank.build([None, 3])
    before = bank.values().numpy()
    np.testing.assert_allclose(np.linalg.norm(before, axis=1), 1, rtol=1e-5)
    features = normalized(rng, 3, 3)
    bank.update(tf.constant([4, 1, 4], tf.int64), tf.constant(features))
    expected = before.copy()
    expected[4] = 0.5 * before[4] + 0.25 * (features[0] + features[2])
    expected[1] = 0.5 * before[1] + 0.5 * features[1]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(bank.values(), expected, atol=1e-6)


def test_features_of_all_replicas(settings, rng, two_replicas, monkeypatch):
    """Both replicas have those of both, gathered in types that TPUs sum."""
    features, index = normalized(rng, 4, 4), [3, 8, 0, 8]
    single = make(settings)
    single.remember(tf.constant(features), tf.constant(index, tf.int64), single.bank)
    with two_replicas.scope():
        distributed = make(settings)
    types = set()
    all_sum = distribute.all_sum

    def noting_types(x):
        types.add(x.dtype)
        return all_sum(x)

    monkeypatch.setattr(distribute, "all_sum", noting_types)
    parts = [tf.split(values, 2) for values in (features, tf.constant(index, tf.int64))]
    halves = [per_replica(two_replicas, values) for values in parts]
    two_replicas.run(lambda *half: distributed.remember(*half, distributed.bank), args=halves)
    for copy in distributed.bank.features.value.values:
        np.testing.assert_allclose(copy, single.bank.values(), atol=1e-6)
    assert types == {tf.float32, tf.int32}


def test_a_step_moves_the_features_of_its_images(settings, eager):
    training = Training(settings(**TASK))
    objective = training.objective
    batch, *_ = same_batches(training, 1)
    before = objective.bank.values().numpy()
    training.step(batch)
    has_moved = np.any(objective.bank.values().numpy() != before, 1)
    np.testing.assert_array_equal(np.flatnonzero(has_moved), np.unique(batch["index"]))
    assert id(objective.bank.features) not in {id(v) for v in objective.trainable_variables}
