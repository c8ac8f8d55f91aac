"""Colorization: colors, bins and loss against the paper's formulas, and that it learns."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.helpers.training import Training
from tf_simclr.models import color_space
from tf_simclr.objectives import colorization

pytestmark = pytest.mark.usefixtures("shallow")
Q = len(colorization.bins())
BINS = [tuple(map(float, center)) for center in colorization.bins()]
levels = st.floats(0, 1, width=32)


def linear(c):
    return c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4


def compressed(t):
    return t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116


def slow_lab(r, g, b):
    """CIE 15 and IEC 61966-2-1, a number at a time."""
    r, g, b = map(linear, (r, g, b))
    x = (0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047
    y = 0.2126729 * r + 0.7151522 * g + 0.0721750 * b
    z = (0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883
    x, y, z = map(compressed, (x, y, z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def gaussian(a, b):
    return math.exp(-(math.dist(a, b) ** 2) / (2 * 5.0**2))


def slow_encoding(ab):
    """Sec. 2.1: Z of one pixel, and the number of the nearest bin."""
    order = sorted(range(Q), key=lambda q: math.dist(ab, BINS[q]))
    z = [0.0] * Q
    for q in order[:5]:
        z[q] = gaussian(ab, BINS[q])
    return [value / sum(z) for value in z], order[0]


def slow_smoothed(p):
    """Each bin's mass spread as a Gaussian over the bins there are."""
    smoothed = [0.0] * Q
    for r in range(Q):
        kernel = [gaussian(BINS[q], BINS[r]) for q in range(Q)]
        for q in range(Q):
            smoothed[q] += p[r] * kernel[q] / sum(kernel)
    return smoothed


def slow_weights(p):
    """Eq. 4."""
    smoothed = slow_smoothed(p)
    w = [1 / (0.5 * smoothed[q] + 0.5 / Q) for q in range(Q)]
    mean = sum(smoothed[q] * w[q] for q in range(Q))
    return [value / mean for value in w]


def some_distribution(seed):
    p = np.random.default_rng(seed).random(Q) ** 8
    return (p / p.sum()).astype(np.float32)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
    ],
)
def test_known_colors(rgb, lab):
    np.testing.assert_allclose(
        color_space.rgb_to_lab(tf.constant([rgb], tf.float32))[0], lab, atol=0.006
    )


@hypothesis_settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(levels, levels, levels), min_size=1, max_size=5))
def test_there_and_back(colors):
    lab = color_space.rgb_to_lab(tf.constant(colors))
    expected = [slow_lab(*map(float, color)) for color in colors]
    np.testing.assert_allclose(lab, expected, atol=2e-3)
    np.testing.assert_allclose(color_space.lab_to_rgb(lab), colors, atol=2e-5)


def test_greys_have_no_color():
    grey = tf.repeat(tf.linspace(0.0, 1.0, 256)[None, :, None, None], 3, -1)
    lab = color_space.rgb_to_lab(grey)
    np.testing.assert_allclose(lab[..., 1:], 0, atol=1e-3)
    np.testing.assert_allclose(colorization.lightness(grey), tf.repeat(lab[..., :1] / 100, 3, -1))


def test_impossible_colors_are_clipped():
    rgb = color_space.lab_to_rgb(
        tf.constant([[50.0, 110.0, -110.0], [0.0, -110.0, 110.0], [100.0, 0.0, 100.0]])
    )
    assert np.isfinite(rgb).all() and np.min(rgb) >= 0 and np.max(rgb) <= 1


def test_bins_are_the_gamut(rng):
    """Colours from anywhere in the cube fall into no other cell, and many reach almost all."""
    assert len(set(BINS)) == Q == 261 and (0.0, 0.0) in BINS
    colors = rng.integers(0, 256, [200_000, 3]) / 255
    ab = color_space.rgb_to_lab(tf.constant(colors))[:, 1:].numpy()
    cells = set(map(tuple, (np.rint(ab / 10) * 10 + 0.0).tolist()))
    assert cells <= set(BINS) and len(cells) > 0.9 * Q


@hypothesis_settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.floats(1, 60))
def test_encoding_equals_the_loop(seed, spread):
    ab = np.random.default_rng(seed).normal(scale=spread, size=(4, 2)).astype(np.float32)
    near, shares = colorization.soft_encoding(tf.constant(ab))
    for pixel, bins, share in zip(ab.tolist(), near.numpy(), shares.numpy(), strict=True):
        z, nearest = slow_encoding(pixel)
        dense = np.zeros(Q)
        dense[bins] = share
        np.testing.assert_allclose(dense, z, atol=1e-5)
        assert bins[0] == nearest and share.sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_weights_equal_the_loop(seed):
    p = some_distribution(seed)
    weights = colorization.rebalancing(tf.constant(p)).numpy()
    np.testing.assert_allclose(weights, slow_weights(p.tolist()), rtol=1e-4)
    assert np.dot(slow_smoothed(p.tolist()), weights) == pytest.approx(1, rel=1e-5)
    common, rare = np.argmax(p), np.argmin(slow_smoothed(p.tolist()))
    assert weights[common] < 1 < weights[rare]


@pytest.mark.parametrize("rebalanced", [True, False])
def test_loss_equals_the_equations(settings, rng, rebalanced):
    """Eq. 2 to 4 and the metrics, with a distribution that is not uniform; the state, too."""
    objective = Training(
        settings(pretext="colorization", colour_rebalancing=rebalanced, decoder_width=4)
    ).objective
    p = some_distribution(2)
    objective.seen.assign(3 * p)
    logits = rng.normal(size=(2, 2, 2, Q)).astype(np.float32)
    ab = rng.normal(scale=30, size=(2, 2, 2, 2)).astype(np.float32)
    outputs = {"logits": tf.constant(logits), "ab": tf.constant(ab)}
    loss, metrics = objective.loss_of(outputs, None, True)
    weights = slow_weights(p.tolist()) if rebalanced else [1.0] * Q
    total = chance = right = 0.0
    encodings = np.zeros(Q)
    for pixel_logits, pixel in zip(
        logits.reshape(-1, Q).astype(float).tolist(), ab.reshape(-1, 2).tolist(), strict=True
    ):
        z, nearest = slow_encoding(pixel)
        norm = math.log(sum(math.exp(value) for value in pixel_logits))
        total -= weights[nearest] * sum(z[q] * (pixel_logits[q] - norm) for q in range(Q))
        chance -= weights[nearest] * sum(z[q] * math.log(p[q]) for q in range(Q) if z[q])
        right += max(range(Q), key=pixel_logits.__getitem__) == nearest
        encodings += z
    assert float(loss) == pytest.approx(total / 8, rel=1e-4)
    assert {name: float(value) for name, value in metrics.items()} == pytest.approx(
        {"pretext_loss": total / 8, "pretext_chance": chance / 8, "pretext_acc": right / 8},
        rel=1e-4,
    )
    np.testing.assert_allclose(objective.seen, 3 * p + encodings / 8, rtol=1e-4, atol=1e-6)


def test_annealed_mean_equals_the_loop(rng):
    logits = rng.normal(scale=2, size=(3, Q)).astype(np.float32)
    exponentials = np.exp(logits.astype(float))
    probabilities = exponentials / exponentials.sum(-1, keepdims=True)
    means = colorization.annealed_mean(tf.constant(logits)).numpy()
    for z, actual in zip(probabilities, means, strict=True):
        annealed = [math.exp(math.log(value) / 0.38) for value in z]
        expected = [
            sum(f * center[k] for f, center in zip(annealed, BINS, strict=True)) / sum(annealed)
            for k in (0, 1)
        ]
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(
        colorization.annealed_mean(tf.constant(logits), 1.0),
        probabilities @ np.array(BINS),
        rtol=1e-4,
        atol=1e-3,
    )
    np.testing.assert_allclose(
        colorization.annealed_mean(tf.constant(logits), 1e-4),
        np.array(BINS)[logits.argmax(-1)],
        atol=1e-3,
    )


@pytest.mark.parametrize(
    ("size", "precision"),
    [(16, "float32"), (24, "bfloat16"), (32, "float32"), (33, "float16"), (64, "bfloat16")],
)
def test_sizes_and_precisions(settings, four_groups, eager, rng, size, precision):
    """Of the whole network: four groups, as they are outside of the tests."""
    objective = Training(
        settings(pretext="colorization", image_size=size, precision=precision, decoder_width=4)
    ).objective
    batch = {
        "image": tf.constant(rng.integers(0, 256, [2, size, size, 3]), tf.uint8),
        "label": tf.constant([0, 1], tf.int64),
    }
    logits = objective.outputs(batch, objective.images(batch), False)["logits"]
    assert logits.shape == [2, -(-size // 4), -(-size // 4), Q] and logits.dtype == tf.float32
    assert objective.decoder.compute_dtype == precision and objective.seen.dtype == "float32"
    loss, metrics = objective.loss(batch)
    assert loss.dtype == tf.float32 and np.isfinite(list(metrics.values())).all()


def colored(count, seed):
    """Bright squares, all of them orange, on dark blue ground: uint8 [count, 16, 16, 3]."""
    rng = np.random.default_rng(seed)
    images = np.empty([count, 16, 16, 3])
    for image in images:
        image[:] = np.array([20, 30, 110]) * rng.uniform(0.8, 1.2)
        row, column = rng.integers(0, 9, 2)
        image[row : row + 8, column : column + 8] = np.array([250, 160, 60]) * rng.uniform(0.9, 1)
    return {"image": tf.constant(images, tf.uint8), "label": tf.zeros(count, tf.int64)}


def test_learns_colors(settings, shallow):
    """Below chance, most of which is the spread of colors over bins, also of unseen images."""
    training = Training(
        settings(
            pretext="colorization",
            decoder_width=32,
            optimizer="adam",
            learning_rate=0.6,
            width_multiplier=0.2,
            train_steps=60,
        )
    )
    for step in range(60):
        metrics = training.step(colored(16, step))
    held_out = colored(16, 1000)
    _, unseen = training.objective.loss(held_out, training=False)
    for values in (metrics, unseen):
        assert values["pretext_loss"] < 0.75 * values["pretext_chance"]
    truth = training.objective.images(held_out)
    pictures = training.objective.pictures(held_out)
    error = lambda name: tf.reduce_mean(tf.abs(pictures[name] - truth))
    assert error("colourised") < 0.75 * error("lightness")


def test_only_training_counts(settings, eager):
    objective = Training(settings(pretext="colorization", decoder_width=4)).objective
    np.testing.assert_allclose(objective.seen, np.full(Q, 1 / Q), rtol=1e-6)
    batch = colored(4, 0)
    images = objective.images(batch)
    outputs = objective.outputs(batch, images, False)
    outputs |= objective.targets(batch, images, False)
    objective.loss_of(outputs, batch["label"], False)
    np.testing.assert_allclose(objective.seen, np.full(Q, 1 / Q), rtol=1e-6)
    objective.loss(batch)
    assert np.sum(objective.seen) == pytest.approx(2, rel=1e-5)
    assert np.min(objective.seen) == pytest.approx(1 / Q) and np.max(objective.seen) > 0.2


def test_pictures(settings, eager):
    objective = Training(settings(pretext="colorization", decoder_width=4)).objective
    batch = colored(3, 0)
    pictures = objective.pictures(batch)
    assert list(pictures) == ["lightness", "colourised"]
    for images in pictures.values():
        assert images.shape == [3, 16, 16, 3] and images.dtype == tf.float32
        assert np.min(images) >= 0 and np.max(images) <= 1
    red, green, blue = tf.unstack(pictures["lightness"], axis=-1)
    np.testing.assert_array_equal(red, green)
    np.testing.assert_array_equal(red, blue)


def test_the_encoder_sees_no_color(settings, eager):
    """Images of one lightness and other colors look the same to it."""
    objective = Training(settings(pretext="colorization", decoder_width=4)).objective
    colors = tf.constant([[50.0, 20.0, 20.0], [50.0, -20.0, 10.0]])
    lab = tf.tile(colors[:, None, None], [1, 16, 16, 1])
    images = color_space.lab_to_rgb(lab)
    first, second = objective.outputs({}, images, False)["logits"]
    np.testing.assert_allclose(first, second, atol=1e-4)
    assert np.abs(objective.targets({}, images, False)["ab"][0] - [20.0, 20.0]).max() < 0.01
