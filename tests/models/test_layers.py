"""Convolution and batch norm against Keras' own and against one big batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.models.layers import BatchNorm, Conv


@pytest.mark.parametrize("shape", [(6, 5, 4, 3), (6, 3)])
@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_equals_keras(rng, shape, training):
    x = tf.constant(rng.normal(2, 3, size=shape), tf.float32)
    results = []
    for layer in (BatchNorm(0.9), keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)):
        layer.build(shape)
        layer.gamma.assign([0.5, 1.0, 2.0])
        layer.beta.assign([1.0, 0.0, -1.0])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training)
            loss = tf.reduce_sum(y * y * tf.cos(x))
        gradients = tape.gradient(loss, [x, *[v.value for v in layer.trainable_variables]])
        results.append([y, layer.moving_mean, layer.moving_variance, *gradients])
    for value, expected in zip(*results, strict=True):
        np.testing.assert_allclose(value, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("shape", [(8, 4, 4, 3), (8, 3)])
def test_synchronized_equals_one_big_batch(rng, two_replicas, shape):
    x = tf.constant(rng.normal(1, 2, size=shape), tf.float32)

    def run(layer, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(tf.square(y) * tf.cast(tf.sin(x), tf.float32))
        return [y, *tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])]

    big_batch = BatchNorm()
    big_batch.build(shape)
    expected_results = run(big_batch, x)
    with two_replicas.scope():
        synchronized = BatchNorm()
        synchronized.build(shape)
    halves = two_replicas.experimental_distribute_values_from_function(
        lambda c: x[4 * c.replica_id_in_sync_group :][:4]
    )
    results = tf.function(lambda x: two_replicas.run(run, args=(synchronized, x)))(halves)
    joined = [tf.concat(two_replicas.experimental_local_results(r), 0) for r in results[:2]]
    summed = [two_replicas.reduce("SUM", r, None) for r in results[2:]]
    for value, expected in zip([*joined, *summed], expected_results, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)
    for variable, expected in zip(synchronized.variables, big_batch.variables, strict=True):
        for copy in variable.value.values:
            np.testing.assert_allclose(copy, expected, rtol=1e-5, atol=1e-6)


def test_local_statistics_differ_but_moving_ones_average(rng, two_replicas):
    with two_replicas.scope():
        layer = BatchNorm(synchronized=False)
        layer.build((None, 1))
    halves = two_replicas.experimental_distribute_values_from_function(
        lambda c: tf.constant([[1.0], [3.0]]) + 10.0 * c.replica_id_in_sync_group
    )
    normalize = lambda x: layer(x, training=True)
    y = tf.function(lambda x: two_replicas.run(normalize, args=(x,)))(halves)
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
    assert y.shape == (1, out, out, 3)
    for i, j in np.ndindex(out, out):
        window = padded[0, 2 * i : 2 * i + kernel, 2 * j : 2 * j + kernel]
        expected = np.tensordot(window, weights, 3)
        np.testing.assert_allclose(y[0, i, j], expected, rtol=1e-4, atol=1e-5)


def test_initial_scale_of_convolutions():
    layer = Conv(256, 3)
    layer.build((None, 8, 8, 64))
    assert np.std(layer.kernel.numpy()) == pytest.approx(1 / np.sqrt(9 * 64), rel=0.02)


def test_weighted_mean_ignores_weights_of_zero():
    assert distribute.weighted_mean(tf.constant([1.0, 5.0, 3.0]), tf.constant([1.0, 0.0, 1.0])) == 2
    assert distribute.weighted_mean(tf.constant([1.0, 5.0]), tf.zeros(2)) == 0


def test_weighted_mean_over_uneven_replicas(two_replicas):
    def distributed(values):
        return two_replicas.experimental_distribute_values_from_function(
            lambda context: tf.constant(values[context.replica_id_in_sync_group])
        )

    values = distributed([[1.0, 2.0], [9.0, 7.0]])
    weights = distributed([[1.0, 1.0], [1.0, 0.0]])
    mean = tf.function(lambda v, w: two_replicas.run(distribute.weighted_mean, args=(v, w)))
    means = mean(values, weights)
    np.testing.assert_allclose(two_replicas.reduce("MEAN", means, None), 4.0)
