"""NT-Xent and the memory against the formulas of the papers, written as loops."""

from unittest import mock

import numpy as np
import pytest
import scipy
import tensorflow as tf
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from tests.helpers.vectors import normalized
from tf_simclr import config
from tf_simclr.models.memory_queue import MemoryQueue
from tf_simclr.objectives import nt_xent as nt_xent_module
from tf_simclr.objectives.nt_xent import nt_xent
from tf_simclr.objectives.simclr import SimCLR, normalized_step
from tf_simclr.objectives.supervised import classification_loss


def slow_nt_xent(z, temperature, queue=()):
    """Twice the mean of eq. 1 over all 2N ordered positive pairs; z [N, 2, d] of length 1."""
    views = [(i, v) for i in range(len(z)) for v in (0, 1)]
    z = z.astype(np.float64)
    losses = []
    for i, v in views:

        def similarity(other):
            return np.exp(np.dot(z[i, v], other) / temperature)  # noqa: B023

        others = [similarity(z[j, w]) for j, w in views if (j, w) != (i, v)] + [
            similarity(key) for key in queue
        ]
        losses.append(-np.log(similarity(z[i, 1 - v]) / sum(others)))
    return 2 * np.mean(losses)


@pytest.mark.parametrize("n", range(1, 18))
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_equals_the_formula(rng, n, temperature):
    z = normalized(rng, n, 2, 6)
    loss, metrics = nt_xent(tf.constant(z), tf.constant(z), temperature)
    np.testing.assert_allclose(loss, slow_nt_xent(z, temperature), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(metrics["contrast_chance"], 2 * np.log(max(2 * n - 1, 1)), rtol=1e-6)


def test_metrics_against_loops(rng):
    z = normalized(rng, 9, 2, 4)
    _, metrics = nt_xent(tf.constant(z), tf.constant(z), 0.3)
    logits = z[:, 0] @ z[:, 1].T / 0.3
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(
        metrics["contrast_acc"], np.mean(logits.argmax(1) == np.arange(9)), rtol=1e-6
    )
    np.testing.assert_allclose(
        metrics["contrast_entropy"], -(p * np.log(p)).sum(1).mean(), rtol=1e-5
    )


def test_equal_embeddings_give_the_chance_level():
    z = np.ones((8, 2, 4), np.float32) / 2
    loss, metrics = nt_xent(tf.constant(z), tf.constant(z), 0.1)
    np.testing.assert_allclose(loss, metrics["contrast_chance"], rtol=1e-6)
    assert float(loss) == pytest.approx(2 * np.log(15), rel=1e-6)


def test_gradient_by_differences(rng):
    z = rng.normal(size=(3, 2, 4))

    def loss(z):
        return slow_nt_xent(z, 0.5)

    x = tf.constant(z, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value, _ = nt_xent(x, x, 0.5)
    gradient = tape.gradient(value, x).numpy()
    for index in np.ndindex(*z.shape):
        step = np.zeros_like(z)
        step[index] = 1e-5
        assert gradient[index] == pytest.approx((loss(z + step) - loss(z - step)) / 2e-5, abs=2e-4)


def dense_nt_xent(queries, keys, temperature, negatives):
    """The loss with all logits at once, and the two metrics of view 0 against the other view."""
    targets, losses = np.arange(len(keys)), []
    other_view = [
        tf.matmul(queries[:, v], keys[:, 1 - v], transpose_b=True) / temperature for v in (0, 1)
    ]
    for view in (0, 1):
        same_view = tf.matmul(queries[:, view], keys[:, view], transpose_b=True) / temperature
        logits = [other_view[view], tf.linalg.set_diag(same_view, tf.fill([len(keys)], -np.inf))]
        if len(negatives):
            logits.append(tf.matmul(queries[:, view], negatives, transpose_b=True) / temperature)
        losses.append(
            tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(targets, tf.concat(logits, 1))
            )
        )
    p = tf.nn.softmax(other_view[0])
    return (
        sum(losses),
        np.mean(np.argmax(other_view[0], 1) == targets),
        -tf.reduce_mean(tf.reduce_sum(p * tf.math.log(p), 1)),
    )


@settings_of_hypothesis(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 9),
    width=st.integers(1, 10),
    kept=st.integers(0, 5),
    empty=st.integers(0, 3),
    same=st.booleans(),
    temperature=st.floats(0.05, 1.0),
    seed=st.integers(0, 99),
)
def test_blocks_of_any_width_give_the_dense_loss(n, width, kept, empty, same, temperature, seed):
    """Value, gradients and metrics, whatever the last block; a memory gets no gradient."""
    rng = np.random.default_rng(seed)
    shapes = ((n, 2, 4), (n, 2, 4), (kept + empty, 4))
    queries, keys, past = (tf.constant(normalized(rng, *shape)) for shape in shapes)
    if same:
        keys = queries
    negatives = None if not kept + empty else (past, kept)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([queries, keys])
        with mock.patch.object(nt_xent_module, "MIN_WIDTH", 1):
            loss, metrics = nt_xent(queries, keys, temperature, negatives, block=width * n)
        expected, accuracy, entropy = dense_nt_xent(
            queries, keys if negatives is None else tf.stop_gradient(keys), temperature, past[:kept]
        )
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        [metrics["contrast_acc"], metrics["contrast_entropy"]], [accuracy, entropy], atol=1e-5
    )
    sources = [queries] if negatives is not None else [queries, keys]
    gradients = tape.gradient(loss, sources)
    expected_gradients = tape.gradient(expected, sources)
    for gradient, expected_gradient in zip(gradients, expected_gradients):
        np.testing.assert_allclose(gradient, expected_gradient, atol=2e-5)


def test_memory_does_not_grow_with_the_square_of_the_batch():
    """No tensor of the compiled loss has as many elements as there are pairs."""
    views = tf.TensorSpec([4096, 2, 8])

    def gradient(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            loss = nt_xent(z, z, 0.1)[0]
        return tape.gradient(loss, z)

    graph = tf.function(gradient, autograph=False).get_concrete_function(views).graph
    bodies = (
        [function.graph for function in graph._functions.values()]
        if hasattr(graph, "_functions")
        else []
    )
    sizes = [
        out.shape.num_elements() or 0
        for part in [graph, *bodies]
        for op in part.get_operations()
        for out in op.outputs
        if out.shape.rank is not None
    ]
    assert max(sizes) <= 2**20 < 4096**2


def test_two_replicas_equal_one(rng, two_replicas):
    from tf_simclr import distribute

    z = normalized(rng, 8, 2, 5)

    def gradient(z, gather):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = nt_xent(z, gather(z), 0.2)[0] / distribute.replica_count()
        return value, tape.gradient(value, z)

    expected_loss, expected = gradient(tf.constant(z), lambda z: z)
    halves = two_replicas.experimental_distribute_values_from_function(
        lambda context: tf.constant(z[4 * context.replica_id_in_sync_group :][:4])
    )
    loss, gradients = tf.function(
        lambda z: two_replicas.run(gradient, args=(z, distribute.all_gather))
    )(halves)
    np.testing.assert_allclose(two_replicas.reduce("SUM", loss, None), expected_loss, rtol=1e-6)
    np.testing.assert_allclose(
        np.concatenate([g.numpy() for g in gradients.values]), expected, atol=1e-6
    )


def test_half_precision_inputs_do_not_overflow(rng):
    z = tf.cast(normalized(rng, 4, 2, 4), tf.float16)
    loss, _ = nt_xent(z, z, 0.01)
    assert np.isfinite(loss)
    assert loss.dtype == tf.float32


def test_extreme_temperature_stays_finite(rng):
    z = tf.constant(normalized(rng, 4, 2, 4))
    with tf.GradientTape() as tape:
        tape.watch(z)
        loss, _ = nt_xent(z, z, 1e-3)
    assert np.isfinite(loss)
    assert np.all(np.isfinite(tape.gradient(loss, z)))


@pytest.mark.parametrize("enqueued", [0, 4, 10])
def test_memory_adds_negatives(rng, enqueued):
    z, past = normalized(rng, 5, 2, 6), normalized(rng, enqueued, 6)
    queue = MemoryQueue(10)
    queue.build([None, 6])
    if enqueued:
        queue.enqueue(tf.constant(past))
    loss, metrics = nt_xent(tf.constant(z), tf.constant(z), 0.2, queue.negatives())
    np.testing.assert_allclose(loss, slow_nt_xent(z, 0.2, past), rtol=1e-6)
    np.testing.assert_allclose(metrics["contrast_chance"], 2 * np.log(9 + enqueued), rtol=1e-6)


@pytest.mark.parametrize("batch", [1, 3, 5, 7, 12])
def test_queue_keeps_the_newest(batch):
    """Also for batches that do not divide the queue, and larger than it."""
    queue, past = MemoryQueue(5), []
    queue.build([None, 1])
    for step in range(6):
        keys = np.arange(step * batch, (step + 1) * batch, dtype=np.float32)[:, None]
        queue.enqueue(tf.constant(keys))
        past += keys[:, 0].tolist()
        keys, count = (x.numpy() for x in queue.negatives())
        assert sorted(keys[:count, 0].tolist()) == past[-5:]


def test_key_network_follows(settings):
    from tf_simclr.objectives import objective_class

    options = settings(memory_size=12, memory_momentum=0.9)
    objective = objective_class(options)(options, 10)
    objective.build_variables()
    objective.start()
    queries = {v.path.split("encoder/")[-1]: v for v in objective.encoder.variables}
    keys = {v.path.split("encoder/")[-1]: v for v in objective.key_network.encoder.variables}
    assert queries.keys() == keys.keys()
    name = "stem/conv0/kernel"
    np.testing.assert_array_equal(queries[name], keys[name])
    before = keys[name].numpy()
    queries[name].assign_add(tf.ones_like(before))
    views = np.random.default_rng(0).random((4, 2, 16, 16, 3)).astype(np.float32)
    objective.loss({"views": tf.constant(views), "label": tf.zeros(4, tf.int64)})
    np.testing.assert_allclose(keys[name], before + 0.1, rtol=1e-5)
    assert int(objective.queue.enqueued) == 8
    trainable = {id(v) for v in objective.trainable_variables}
    assert not trainable & {id(v) for v in objective.key_network.variables}


def test_each_example_steps_by_its_length(rng):
    """The gradient of the classifier on the side, each example's divided by its squared length."""
    objective = SimCLR(config.build({"train_batch_size": 3}), 4)
    head = objective.supervised_head
    head.build([None, 5])
    head.kernel.assign(rng.normal(size=(5, 4)))
    head_input = 10 * rng.normal(size=(3, 2, 5)).astype(np.float32)
    labels = np.array([0, 3, 1])
    outputs = {"queries": tf.constant(normalized(rng, 3, 2, 6)), "head_input": head_input}
    with tf.GradientTape() as tape:
        loss, metrics = objective.loss_of(outputs, tf.constant(labels), True)
    gradients = tape.gradient(loss, [head.kernel.value, head.bias.value])

    losses, of_kernel, of_bias = [], np.zeros([5, 4]), np.zeros(4)
    for example, label in zip(head_input.reshape(6, 5), np.repeat(labels, 2)):
        probabilities = scipy.special.softmax(example @ head.kernel.numpy())
        losses.append(-np.log(probabilities[label]))
        of_logits = (probabilities - np.eye(4)[label]) / 6
        squared_length = np.sum(example**2) + 1
        of_kernel += np.outer(example, of_logits) / squared_length
        of_bias += of_logits / squared_length
    assert float(metrics["supervised_loss"]) == pytest.approx(np.mean(losses), rel=1e-5)
    np.testing.assert_allclose(gradients[0], of_kernel, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(gradients[1], of_bias, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("length", [0.1, 10, 1000])
def test_the_classifier_on_the_side_learns_from_features_of_any_length(rng, length):
    """At one learning rate its loss falls below the chance level and never rises above it."""
    centers = np.eye(4, 8)
    labels = rng.integers(0, 4, 64)
    features = centers[labels] + rng.normal(scale=0.2, size=(64, 8))
    head_input = tf.constant(length * features, tf.float32)
    kernel = tf.Variable(tf.zeros([8, 4]))
    optimizer = tf.keras.optimizers.SGD(1.0, momentum=0.9)
    losses = []
    for _ in range(60):
        with tf.GradientTape() as tape:
            logits = normalized_step(head_input @ kernel, head_input)
            loss, metrics = classification_loss(logits, tf.constant(labels))
        losses.append(float(loss))
        optimizer.apply([tape.gradient(loss, kernel)], [kernel])
    assert max(losses) == pytest.approx(np.log(4), abs=1e-3)
    assert losses[-1] < 0.8 * np.log(4) and metrics["supervised_acc"] > 0.95
