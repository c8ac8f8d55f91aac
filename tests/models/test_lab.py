"""The encoder of lightness and colors: what each half sees, and that it is one encoder."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tf_simclr.models import footprint, lab, resnet
from tf_simclr.models.lab import LabEncoder
from tf_simclr.models.network import make_encoder
from tf_simclr.training import layer_decay

pytestmark = pytest.mark.usefixtures("four_groups")
OPTIONS = {"backbone": "lab", "width_multiplier": 0.1}


def slow_lab(red, green, blue):
    """Lab of one color by the definitions of IEC 61966-2-1 and CIE 15, for the light D65."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (red, green, blue)
    ]
    primaries = [
        (0.4124564, 0.3575761, 0.1804375),
        (0.2126729, 0.7151522, 0.0721750),
        (0.0193339, 0.1191920, 0.9503041),
    ]
    roots = []
    for row in primaries:
        share = sum(weight * value for weight, value in zip(row, linear)) / sum(row)
        bent = share / (3 * (6 / 29) ** 2) + 4 / 29
        roots.append(share ** (1 / 3) if share > (6 / 29) ** 3 else bent)
    x, y, z = roots
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@given(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3))
def test_split(rgb):
    """L from 0 to 100, a from -86 to 98 and b from -108 to 94 become -1 to 1."""
    lightness, color = lab.split(tf.constant(rgb, tf.float32)[None, None, None])
    expected_l, expected_a, expected_b = slow_lab(*rgb)
    np.testing.assert_allclose(lightness[0, 0, 0], [expected_l / 50 - 1], atol=1e-4)
    expected = [(expected_a - 6.025) / 92.208, (expected_b + 6.6895) / 101.1675]
    np.testing.assert_allclose(color[0, 0, 0], expected, atol=1e-4)
    assert np.abs(expected).max() < 1.001


@pytest.fixture
def encoder(settings):
    made = make_encoder(settings(**OPTIONS))
    made(tf.zeros([1, 16, 16, 3]))
    return made


def test_each_half_sees_its_own(encoder, rng):
    """Gray images of any lightness have the same colors; two colors may be equally light."""
    assert isinstance(encoder, LabEncoder)
    images = rng.random((2, 16, 16, 3)).astype(np.float32)
    grays = np.repeat(images.mean(-1, keepdims=True), 3, -1)
    outputs, of_grays = encoder(images), encoder(grays)
    lightness, color = lab.split(tf.constant(images))
    for name, value in outputs.items():
        channels = value.shape[-1] // 2
        halves = [encoder.lightness(lightness)[name], encoder.color(color)[name]]
        np.testing.assert_array_equal(value, np.concatenate(halves, -1), err_msg=name)
        of_color = of_grays[name][..., channels:].numpy()
        np.testing.assert_allclose(of_color[0], of_color[1], atol=1e-4, err_msg=name)
    assert list(outputs)[-1] == "final_avg_pool" and encoder.last_map == "block_group4"
    assert outputs["final_avg_pool"].shape == (2, encoder.feature_dim)


def test_half_the_channels_each(settings):
    for width, dim in ((1.0, 512), (0.5, 256)):
        encoder = make_encoder(settings(backbone="lab", width_multiplier=width))
        alone = make_encoder(settings(width_multiplier=width))
        assert encoder.feature_dim == dim == alone.feature_dim
        assert encoder.lightness.feature_dim == encoder.color.feature_dim == dim // 2


def test_names_say_which_half(encoder):
    paths = [v.path for v in encoder.variables]
    assert len(set(paths)) == len(paths)
    assert {path.split("/")[1] for path in paths} == {"lightness", "color"}
    halves = len(paths) // 2
    for path, other in zip(paths[:halves], paths[halves:], strict=True):
        assert other == path.replace("lightness", "color")


def test_levels_and_freezing(encoder):
    """By depth, as of a ResNet: stem and groups of both halves."""
    levels = encoder.levels
    assert len(levels) == 5
    assert sorted(v.path for level in levels for v in level) == sorted(
        v.path for v in encoder.variables
    )
    factors = layer_decay.factors(encoder, 0.5)
    stems = [encoder.lightness.stem.variables[0], encoder.color.stem.variables[0]]
    assert [factors[id(v)] for v in stems] == [0.5**5] * 2
    encoder.freeze(1)
    frozen = [v for level in levels[:2] for v in level]
    trained = {id(v) for v in encoder.trainable_variables}
    assert trained and not trained & {id(v) for v in frozen}


def test_memory_and_parameters(encoder):
    """Two networks of half the width: half of the weights."""
    counted = footprint.of(encoder, 16, first_trained=0, rematerialize="none")
    kernels = [v for v in encoder.trainable_variables if len(v.shape) == 4]
    total = sum(math.prod(v.shape) for v in kernels)
    assert 0.8 * total < counted.weights <= total
    whole = footprint.of(
        resnet.ResNet(18, 0.1, image_size=16), 16, first_trained=0, rematerialize="none"
    )
    assert counted.kept == pytest.approx(whole.kept, rel=0.1)
    assert counted.weights == pytest.approx(whole.weights / 2, rel=0.1)


def test_colors_are_converted_in_float32(settings, rng):
    """What follows is in bfloat16."""
    images = rng.random((1, 16, 16, 3)).astype(np.float32)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        encoder = make_encoder(settings(**OPTIONS))
    finally:
        keras.config.set_dtype_policy("float32")
    seen = []
    encoder.color.stem.call = lambda x, training=False: (seen.append(x), (x, x))[1]
    encoder(images)
    _, expected = lab.split(tf.constant(images))
    np.testing.assert_array_equal(seen[0], tf.cast(expected, tf.bfloat16))
