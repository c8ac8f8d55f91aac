"""Counting: the loss against the paper's formula, tiles, downsampling, a start that is not dead."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.training import Training
from tf_simclr.data.image import DecodedImage
from tf_simclr.objectives import counting

pytestmark = pytest.mark.usefixtures("shallow")
TASK = {"pretext": "counting"}
PIL_METHODS = (
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)


def slow_loss(whole, tiles, other, margin):
    """Eq. 4, a number at a time. whole, other: [B, d]. tiles: [B, 4, d]."""
    total = 0.0
    for i in range(len(whole)):
        same = different = 0.0
        for k in range(whole.shape[1]):
            tile_sum = sum(float(tile[k]) for tile in tiles[i])
            same += (whole[i, k] - tile_sum) ** 2
            different += (other[i, k] - tile_sum) ** 2
        total += same + max(0.0, margin - different)
    return total / len(whole)


@hypothesis_settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 1000), st.integers(1, 5), st.integers(1, 6), st.floats(0, 20), st.floats(0, 2)
)
def test_loss_equals_the_loop(seed, batch, counts, margin, scale):
    rng = np.random.default_rng(seed)
    whole, other = (scale * rng.random((batch, counts)).astype(np.float32) for _ in range(2))
    tiles = scale * rng.random((batch, 4, counts)).astype(np.float32)
    loss = counting.counting_loss(
        tf.constant(whole), tf.constant(tiles.sum(1)), tf.constant(other), margin
    )
    assert float(loss) == pytest.approx(slow_loss(whole, tiles, other, margin), rel=1e-5, abs=1e-5)


def test_the_other_image_is_the_next_one(settings, rng):
    objective = Training(settings(**TASK, counting_margin=3000.0)).objective
    counts = rng.random((5, 5, counting.NUM_COUNTS)).astype(np.float32)
    loss, metrics = objective.loss_of({"counts": tf.constant(counts)}, None, False)
    whole, tiles = counts[:, 0], counts[:, 1:]
    expected = slow_loss(whole, tiles, np.roll(whole, -1, 0), 3000.0)
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    assert metrics["pretext_chance"] == 3000
    assert float(metrics["counting_scale"]) == pytest.approx(
        np.linalg.norm(counts[:, 0], axis=-1).mean(), rel=1e-5
    )


def test_the_next_one_over_replicas(settings, two_replicas, rng):
    """The last image of a replica is compared with the first of the next, and gets its gradient."""
    training = Training(settings(**TASK, counting_margin=3000.0), two_replicas)
    counts = rng.random((4, 5, counting.NUM_COUNTS)).astype(np.float32)

    def gradient(counts):
        with tf.GradientTape() as tape:
            tape.watch(counts)
            loss, _ = training.objective.loss_of({"counts": counts}, None, True)
        return loss, tape.gradient(loss, counts)

    halves = two_replicas.experimental_distribute_values_from_function(
        lambda context: tf.split(tf.constant(counts), 2)[context.replica_id_in_sync_group]
    )
    losses, gradients = tf.function(
        lambda halves: two_replicas.run(gradient, args=(halves,)), autograph=False
    )(halves)
    loss, expected = gradient(tf.constant(counts))
    np.testing.assert_allclose(
        np.mean([local.numpy() for local in two_replicas.experimental_local_results(losses)]),
        loss,
        rtol=1e-5,
    )
    actual = np.concatenate(
        [local.numpy() for local in two_replicas.experimental_local_results(gradients)]
    )
    np.testing.assert_allclose(
        actual / 2, expected, rtol=1e-3, atol=1e-4
    )  # each replica's loss is half of the batch's


@pytest.mark.parametrize("method", range(len(counting.METHODS)))
def test_downsampling_is_what_pillow_does(method):
    x = np.arange(24)
    smooth = np.outer(np.sin(x / 3), np.cos(x / 4)) / 2.1 + 0.5
    image = np.stack([smooth, smooth.T, 1 - smooth], -1).astype(np.float32)
    actual = counting.downsampled(image[None], counting.downsampling_matrices(12)[[method]])[0]
    channels = [
        Image.fromarray(image[..., c]).resize((12, 12), PIL_METHODS[method]) for c in range(3)
    ]
    np.testing.assert_allclose(actual, np.stack(channels, -1), atol=2e-3)


@pytest.mark.parametrize("size", [16, 17])
def test_what_the_network_sees(settings, rng, size):
    """The downsampled image and its quadrants, of half the size; an odd size loses a pixel."""
    options = settings(
        **TASK,
        image_size=size,
        random_downsampling=False,
        counting_grey_probability=0.0,
        use_crop=False,
        use_flip=False,
    )
    objective = counting.Counting(options, 0)
    picture = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    example = objective.example(
        DecodedImage(tf.constant(picture)), 3, tf.constant([1, 2], tf.int64)
    )
    seen = (
        objective.images(
            {"image": example["image"][None], "method": example["method"][None]}
        ).numpy()
        * 255
    )
    expected = [
        picture.reshape(8, 2, 8, 2, 3).mean((1, 3)),
        picture[:8, :8],
        picture[:8, 8:],
        picture[8:, :8],
        picture[8:, 8:],
    ]
    np.testing.assert_allclose(seen, expected, atol=1e-3)


def test_grey_is_the_mean_of_the_channels(settings, rng):
    objective = counting.Counting(
        settings(**TASK, counting_grey_probability=1.0, use_crop=False, use_flip=False), 0
    )
    picture = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    image = objective.example(DecodedImage(tf.constant(picture)), 3, tf.constant([1, 2], tf.int64))[
        "image"
    ].numpy()
    np.testing.assert_allclose(image, np.repeat(picture.mean(-1, keepdims=True), 3, -1), atol=0.51)


def test_draws_are_the_seeds(settings):
    """Each method as often as the others, and gray as often as said; the same inside tf.data."""
    objective = counting.Counting(settings(**TASK, counting_grey_probability=0.25), 0)
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    seeds = tf.data.Dataset.range(400).map(lambda i: tf.stack([7, i]))
    batch = next(
        iter(seeds.map(lambda seed: objective.example(DecodedImage(picture), 0, seed)).batch(400))
    )
    for name, value in objective.example(
        DecodedImage(tf.constant(picture)), 0, tf.constant([7, 5], tf.int64)
    ).items():
        np.testing.assert_array_equal(batch[name][5], value)
    seen = objective.images(batch).numpy().reshape(400, 5, 8, 8, 3)
    is_grey = np.ptp(seen, -1).max((1, 2, 3)) < 1e-6
    assert is_grey.mean() == pytest.approx(0.25, abs=0.08)
    image = tf.cast(batch["image"], tf.float32) / 255
    by_method = [
        counting.downsampled(image, np.repeat(matrix[None], 400, 0))
        for matrix in objective.downsampling
    ]
    difference = np.abs(np.stack(by_method) - seen[:, 0]).max((2, 3, 4))  # [4, 400]
    assert difference.min(0).max() < 1e-4
    assert np.bincount(difference.argmin(0)) / 400 == pytest.approx([0.25] * 4, abs=0.08)


@pytest.mark.parametrize("width", [8, 512])
def test_the_start_is_not_dead(settings, width):
    """Counts at least 0 and within the margin at any width; the encoder gets a gradient."""
    objective = Training(settings(**TASK, pretext_width=width)).objective
    images = np.random.default_rng(0).random((4, 16, 16, 3)).astype(np.float32)
    batch = {
        "image": tf.constant(images),
        "method": tf.zeros([4], tf.int32),
        "label": tf.zeros(4, tf.int64),
    }
    counts = objective.outputs(batch, objective.images(batch), True)["counts"].numpy()
    assert counts.min() >= 0 and counts.shape == (4, 5, counting.NUM_COUNTS)
    assert 0.3 < np.linalg.norm(counts, axis=-1).mean() < 1.5
    with tf.GradientTape() as tape:
        loss, _ = objective.loss(batch)
    assert tf.linalg.global_norm(tape.gradient(loss, objective.encoder.trainable_variables)) > 0.01


def test_learns_to_count_digits(settings):
    options = settings(
        **TASK,
        train_batch_size=32,
        train_steps=100,
        learning_rate=0.15,
        optimizer="momentum",
        pretext_width=64,
        use_crop=False,
        use_flip=False,
    )
    history = Training(options).run(100)
    losses = [metrics["pretext_loss"] for metrics in history[-10:]]
    assert np.mean(losses) < 0.85 * history[-1]["pretext_chance"]


def test_collapse_is_noticed(settings):
    objective = counting.Counting(settings(**TASK), 0)
    assert objective.warning({"counting_scale": 1.0}) is None
    assert "collapsed" in objective.warning({"counting_scale": 1e-3})
