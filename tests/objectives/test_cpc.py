"""CPC: its grid of patches, what a context sees, and the loss as loops."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.training import Training, same_batches
from tf_simclr.data.image import DecodedImage
from tf_simclr.models.context_network import ContextNetwork
from tf_simclr.objectives import cpc
from tf_simclr.objectives.cpc import CPC
from tf_simclr.objectives.info_nce import info_nce

pytestmark = pytest.mark.usefixtures("shallow")
TASK = {"pretext": "cpc"}
GRIDS = [(260, 80, 36), (224, 69, 31), (96, 30, 14), (32, 10, 4), (16, 5, 2), (8, 2, 1)]


@pytest.mark.parametrize(("image_size", "size", "stride"), GRIDS)
def test_grid(settings, image_size, size, stride):
    """As published for 260 pixels; of others the same shares. What is predicted shares no pixel."""
    objective = CPC(settings(**TASK, image_size=image_size), 0, 9)
    assert (objective.size, objective.stride) == (size, stride)
    assert objective.encoder_input == (36, size)
    first, *_ = cpc.OFFSETS
    assert first * stride >= size
    assert 0.85 < (size + 5 * stride) / image_size < 1.05


def test_patches(settings):
    """Row by row, each in its place."""
    options = settings(**TASK, image_size=32, use_flip=False, use_crop=False)
    objective = CPC(options.replace(color_jitter_strength=0.0), 0, 9)
    rows, columns = np.indices((30, 30)).astype(np.uint8)
    picture = DecodedImage(tf.constant(np.stack([rows, columns, rows], -1)))
    views = objective.example(picture, 3, tf.constant([7, 0]))["views"].numpy()
    for number, view in enumerate(views):
        row, column = 4 * (number // 6), 4 * (number % 6)
        np.testing.assert_array_equal(view[..., 0], rows[row : row + 10, column : column + 10])
        np.testing.assert_array_equal(view[..., 1], columns[row : row + 10, column : column + 10])
    pictures = objective.pictures({"views": views[None], "label": [3]})["patches"]
    assert pictures.shape == (1, 60, 60, 3)
    np.testing.assert_allclose(pictures[0, 20:30, 10:20], views[6 * 2 + 1] / 255, atol=1e-6)


def test_each_patch_has_colors_of_its_own(settings):
    objective = CPC(settings(**TASK), 0, 9)
    picture = DecodedImage(tf.zeros([8, 8, 3], tf.uint8))
    numbers = objective.example(picture, 3, tf.constant([7, 0]))["numbers"].numpy()
    assert numbers.shape == (36, 12) and len(np.unique(numbers)) == numbers.size


def slow_predicted():
    """(row, column) that each prediction is of, and where its context is, by the definition."""
    steps = [(1, 0), (-1, 0), (0, 1), (0, -1)]  # to the bottom, the top, the right, the left
    cells = set()
    for offset in (3, 4, 5):
        for down, right in steps:
            for row in range(6):
                for column in range(6):
                    target = row + offset * down, column + offset * right
                    if min(target) >= 0 and max(target) < 6:
                        cells.add(((row, column), target))
    return cells


def test_what_is_predicted_of_what():
    """Each cell at an offset in each direction, once."""
    cells = np.stack(np.indices((6, 6)), -1)
    turned = cpc.oriented(tf.constant(cells[None]))[0].numpy()
    contexts = np.concatenate([turned[:, :-offset].reshape(-1, 2) for offset in cpc.OFFSETS])
    targets = np.stack(np.divmod(cpc.predicted_patches(), 6), -1)
    pairs = [(tuple(context), tuple(target)) for context, target in zip(contexts, targets)]
    assert len(pairs) == len(set(pairs)) == 4 * 6 * (3 + 2 + 1)
    assert set(pairs) == slow_predicted()


def test_a_context_sees_its_row_and_those_above(rng):
    """A change of one cell changes predictions of its row and of those below alone."""
    network = ContextNetwork(256, 2, 3)
    features = rng.normal(size=(1, 4, 6, 6, 5)).astype(np.float32)
    before = network(tf.constant(features)).numpy()
    assert before.shape == (1, 4, 6, 6, 2, 3)
    changed = features.copy()
    changed[0, 1, 2, 3] += 1
    difference = np.abs(network(tf.constant(changed)).numpy() - before).max((4, 5))[0]
    assert (difference[[0, 2, 3]] == 0).all() and (difference[1, :2] == 0).all()
    assert (difference[1, 2:] > 0).all()
    deviations = [block.expand.kernel.numpy().std() * math.sqrt(256) for block in network.blocks]
    np.testing.assert_allclose(deviations, 0.88, atol=0.05)  # of a truncated normal variable


def slow_info_nce(queries, keys, positives):
    """Equation 2 as a mean: -ln of the share of the right key, a query at a time."""
    total, correct = 0.0, 0
    for query, positive in zip(queries, positives):
        logits = [sum(a * b for a, b in zip(query, key)) for key in keys]
        total -= logits[positive] - math.log(sum(map(math.exp, logits)))
        correct += max(range(len(keys)), key=logits.__getitem__) == positive
    return total / len(queries), correct / len(queries)


@given(seed=st.integers(0, 1000), num_queries=st.integers(1, 6), num_keys=st.integers(1, 9))
def test_info_nce(seed, num_queries, num_keys):
    rng = np.random.default_rng(seed)
    queries, keys = rng.normal(size=(num_queries, 3)), rng.normal(size=(num_keys, 3))
    positives = rng.integers(0, num_keys, num_queries)
    loss, accuracy = info_nce(
        *(tf.constant(values, tf.float32) for values in (queries, keys)),
        tf.constant(positives, tf.int32),
    )
    expected = slow_info_nce(queries.tolist(), keys.tolist(), positives.tolist())
    np.testing.assert_allclose([loss, accuracy], expected, rtol=1e-4, atol=1e-5)


def test_gradient_of_info_nce_in_blocks(monkeypatch, rng):
    """That of the cross-entropy of all logits at once; some keys are right for two queries."""
    monkeypatch.setattr("tf_simclr.objectives.info_nce.MIN_WIDTH", 4)
    queries, keys = (tf.constant(rng.normal(size=(n, 3)), tf.float32) for n in (7, 11))
    positives = tf.constant([0, 10, 3, 3, 5, 3, 8])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([queries, keys])
        logits = tf.matmul(queries, keys, transpose_b=True)
        dense = 2 * tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(positives, logits)
        )
        loss, _ = info_nce(queries, keys, positives, block=1)
        loss *= 2
    np.testing.assert_allclose(loss, dense, rtol=1e-5)
    for inputs in (queries, keys):
        np.testing.assert_allclose(
            tape.gradient(loss, inputs), tape.gradient(dense, inputs), atol=1e-6
        )


def test_loss(settings, eager):
    """Of a batch, from the outputs of the network: predictions against all patches of it."""
    training = Training(settings(**TASK, color_jitter_strength=0))
    objective = training.objective
    batch, *_ = same_batches(training, 1)
    outputs = objective.outputs(batch, objective.images(batch), True)
    shapes = {name: list(value.shape[1:]) for name, value in outputs.items()}
    assert shapes == objective.output_shapes() == {"embeddings": [36, 16], "predictions": [144, 16]}
    loss, metrics = objective.loss_of(outputs, None, False)
    keys = outputs["embeddings"].numpy().reshape(-1, 16)
    total = 0.0
    for image, predictions in enumerate(outputs["predictions"].numpy()):
        logits = 0.1 * predictions @ keys.T
        right = 36 * image + cpc.predicted_patches()
        total += np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(144), right])
    np.testing.assert_allclose(loss, total / 8, rtol=1e-5)
    np.testing.assert_allclose(metrics["pretext_chance"], math.log(8 * 36), rtol=1e-6)
