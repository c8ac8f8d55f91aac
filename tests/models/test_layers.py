"""Convolution and batch norm against Keras' own and against one big batch."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.models import layers
from tf_simclr.models.layers import BatchNorm, Conv


@pytest.mark.parametrize("shape", [(6, 5, 4, 3), (6, 3)])
@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_equals_keras(rng, shape, training):
    x = tf.constant(rng.normal(2, 3, size=shape), tf.float32)
    ours, theirs = BatchNorm(0.9), keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    results = []
    for layer in (ours, theirs):
        layer.build(shape)
        layer.gamma.assign([0.5, 1.0, 2.0])
        layer.beta.assign([1.0, 0.0, -1.0])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training)
            loss = tf.reduce_sum(y * y * tf.cos(x))
        gradients = tape.gradient(loss, [x, *[v.value for v in layer.trainable_variables]])
        results.append([y, layer.moving_mean, layer.moving_variance, *gradients])
    for mine, other in zip(*results, strict=True):
        np.testing.assert_allclose(mine, other, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("shape", [(8, 4, 4, 3), (8, 3)])
def test_synchronised_equals_one_big_batch(rng, two_replicas, shape):
    x = tf.constant(rng.normal(1, 2, size=shape), tf.float32)

    def run(layer, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(tf.square(y) * tf.cast(tf.sin(x), tf.float32))
        return [y, *tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])]

    one = BatchNorm()
    one.build(shape)
    y, dx, dgamma, dbeta = run(one, x)
    with two_replicas.scope():
        two = BatchNorm()
        two.build(shape)
    halves = two_replicas.experimental_distribute_values_from_function(
        lambda c: x[4 * c.replica_id_in_sync_group :][:4]
    )
    results = tf.function(lambda x: two_replicas.run(run, args=(two, x)))(halves)
    joined = [tf.concat(two_replicas.experimental_local_results(r), 0) for r in results[:2]]
    summed = [two_replicas.reduce("SUM", r, None) for r in results[2:]]
    for mine, expected in zip([*joined, *summed], [y, dx, dgamma, dbeta], strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-5)
    for mine, expected in zip(two.variables, one.variables, strict=True):
        for copy in mine.value.values:
            np.testing.assert_allclose(copy, expected, rtol=1e-5, atol=1e-6)


def test_local_statistics_differ_but_moving_ones_average(rng, two_replicas):
    with two_replicas.scope():
        layer = BatchNorm(synchronized=False)
        layer.build((None, 1))
    halves = two_replicas.experimental_distribute_values_from_function(
        lambda c: tf.constant([[1.0], [3.0]]) + 10.0 * c.replica_id_in_sync_group
    )
    y = tf.function(lambda x: two_replicas.run(lambda x: layer(x, training=True), args=(x,)))(
        halves
    )
    for half in y.values:
        np.testing.assert_allclose(half, [[-1.0], [1.0]], atol=1e-4)
    for copy in layer.moving_mean.value.values:
        np.testing.assert_allclose(copy, [0.1 * (2 + 12) / 2], rtol=1e-5)


def test_frozen_batch_norm_does_not_move(rng):
    layer = BatchNorm()
    x = tf.constant(rng.normal(5, 1, size=(8, 3)), tf.float32)
    layer.build(x.shape)
    layer.trainable = False
    before = [v.numpy() for v in layer.variables]
    np.testing.assert_allclose(layer(x, training=True), x / np.sqrt(1 + 1e-5), rtol=1e-5)
    for v, value in zip(layer.variables, before, strict=True):
        np.testing.assert_array_equal(v, value)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_keeps_float32_statistics(rng, dtype):
    layer = BatchNorm(dtype=dtype)
    x = tf.constant(rng.normal(1, 2, size=(16, 2, 2, 3)), tf.float32)
    y = layer(x, training=True)
    assert y.dtype == layer.compute_dtype
    assert {v.dtype for v in layer.variables} == {"float32"}
    np.testing.assert_allclose(tf.cast(y, tf.float32), BatchNorm()(x, training=True), atol=0.05)


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_strided_convolution_pads_symmetrically(rng, size, kernel):
    """Whatever the parity of the size: SAME would pad even sizes on one side only."""
    x = rng.normal(size=(1, size, size, 2)).astype(np.float32)
    layer = Conv(3, kernel, strides=2)
    y = layer(tf.constant(x)).numpy()
    pad = (kernel - 1) // 2
    padded = np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    out = (size + 2 * pad - kernel) // 2 + 1
    weights = layer.kernel.numpy()
    expected = [
        [
            np.tensordot(padded[0, 2 * i : 2 * i + kernel, 2 * j : 2 * j + kernel], weights, 3)
            for j in range(out)
        ]
        for i in range(out)
    ]
    np.testing.assert_allclose(y[0], expected, rtol=1e-4, atol=1e-5)


def test_initial_scale_of_convolutions():
    layer = Conv(256, 3)
    layer.build((None, 8, 8, 64))
    assert np.std(layer.kernel.numpy()) == pytest.approx(1 / np.sqrt(9 * 64), rel=0.02)


def test_weighted_mean_ignores_weights_of_zero():
    assert distribute.weighted_mean(tf.constant([1.0, 5.0, 3.0]), tf.constant([1.0, 0.0, 1.0])) == 2
    assert distribute.weighted_mean(tf.constant([1.0, 5.0]), tf.zeros(2)) == 0


def test_weighted_mean_over_uneven_replicas(two_replicas):
    def part(c):
        return (
            (tf.constant([1.0, 2.0]), tf.constant([1.0, 1.0]))
            if c.replica_id_in_sync_group == 0
            else (tf.constant([9.0, 7.0]), tf.constant([1.0, 0.0]))
        )

    values = two_replicas.experimental_distribute_values_from_function(lambda c: part(c)[0])
    weights = two_replicas.experimental_distribute_values_from_function(lambda c: part(c)[1])
    means = tf.function(lambda v, w: two_replicas.run(distribute.weighted_mean, args=(v, w)))(
        values, weights
    )
    np.testing.assert_allclose(two_replicas.reduce("MEAN", means, None), 4.0)


@pytest.mark.parametrize(
    ("kernel_size", "height", "width"),
    [(1, 14, 5), (1, 1, 1), (3, 4, 7), (3, 7, 2), (3, 8, 8), (3, 1, 1)],
)
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_convolution_of_small_maps(rng, kernel_size, height, width, dtype):
    """Value and both gradients are those of TensorFlow's convolution."""
    x, kernel, upstream = (
        tf.constant(rng.normal(size=shape), tf.float32)
        for shape in (
            (2, height, width, 3),
            (kernel_size, kernel_size, 3, 5),
            (2, height, width, 5),
        )
    )
    found, expected = [], []
    for results, convolution, type_ in (
        (found, layers.small_convolution, dtype),
        (expected, lambda x, kernel: tf.nn.conv2d(x, kernel, 1, "SAME"), tf.float32),
    ):
        inputs = tf.cast(x, type_), tf.cast(kernel, type_)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = convolution(*inputs)
        results += [y, *tape.gradient(y, inputs, tf.cast(upstream, type_))]
    for mine, other in zip(found, expected, strict=True):
        assert mine.dtype == dtype and mine.shape == other.shape
        scale = tf.reduce_max(tf.abs(other))
        np.testing.assert_allclose(
            tf.cast(mine, tf.float32) / scale,
            other / scale,
            atol=1e-5 if dtype == tf.float32 else 0.03,
        )


def test_which_convolutions_are_of_small_maps(monkeypatch):
    """bfloat16 on a CPU, up to the sizes of the table."""
    used = []
    monkeypatch.setattr(
        layers,
        "small_convolution",
        lambda x, kernel: (
            used.append((kernel.shape[0], x.shape[1])) or tf.nn.conv2d(x, kernel, 1, "SAME")
        ),
    )
    for dtype, kernel_size, size in itertools.product(
        (tf.float32, tf.bfloat16), (1, 3), (7, 8, 9, 14, 15)
    ):
        layers.Conv(2, kernel_size, dtype=dtype)(tf.zeros([1, size, size, 3], dtype))
    assert used == [(1, 7), (1, 8), (1, 9), (1, 14), (3, 7), (3, 8)]
    monkeypatch.setattr(layers.distribute, "on_cpu", lambda: False)
    layers.Conv(2, 3, dtype=tf.bfloat16)(tf.zeros([1, 7, 7, 3], tf.bfloat16))
    assert len(used) == 6
