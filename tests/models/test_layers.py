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


@pytest.mark.parametrize(
    ("kernel_size", "height", "width"),
    [(1, 14, 5), (1, 1, 1), (3, 4, 7), (3, 7, 2), (3, 8, 8), (3, 1, 1)],
)
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_convolution_of_small_maps(rng, kernel_size, height, width, dtype):
    """Value and both gradients are those of TensorFlow's convolution."""
    x = tf.constant(rng.normal(size=(2, height, width, 3)), tf.float32)
    kernel = tf.constant(rng.normal(size=(kernel_size, kernel_size, 3, 5)), tf.float32)
    upstream = tf.constant(rng.normal(size=(2, height, width, 5)), tf.float32)

    def value_and_gradients(convolution, dtype):
        inputs = tf.cast(x, dtype), tf.cast(kernel, dtype)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = convolution(*inputs)
        return [y, *tape.gradient(y, inputs, tf.cast(upstream, dtype))]

    results = value_and_gradients(layers.small_convolution, dtype)
    reference = value_and_gradients(same_convolution, tf.float32)
    tolerance = 1e-5 if dtype == tf.float32 else 0.03
    for result, expected in zip(results, reference, strict=True):
        assert result.dtype == dtype and result.shape == expected.shape
        scale = tf.reduce_max(tf.abs(expected))
        result = tf.cast(result, tf.float32) / scale
        np.testing.assert_allclose(result, expected / scale, atol=tolerance)


def same_convolution(x, kernel):
    return tf.nn.conv2d(x, kernel, 1, "SAME")


def test_which_convolutions_are_of_small_maps(monkeypatch):
    """bfloat16 on a CPU with AMX, up to the sizes of the table."""
    used = []

    def record(x, kernel):
        used.append((kernel.shape[0], x.shape[1]))
        return same_convolution(x, kernel)

    monkeypatch.setattr(layers, "small_convolution", record)
    monkeypatch.setattr(layers, "has_amx", lambda: True)
    cases = itertools.product((tf.float32, tf.bfloat16), (1, 3), (7, 8, 9, 14, 15))
    for dtype, kernel_size, size in cases:
        layers.Conv(2, kernel_size, dtype=dtype)(tf.zeros([1, size, size, 3], dtype))
    assert used == [(1, 7), (1, 8), (1, 9), (1, 14), (3, 7), (3, 8)]
    without_amx, with_gpu = (layers, "has_amx"), (layers.distribute, "on_cpu")
    for owner, name in (without_amx, with_gpu):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, lambda: False)
            layers.Conv(2, 3, dtype=tf.bfloat16)(tf.zeros([1, 7, 7, 3], tf.bfloat16))
    assert len(used) == 6


@pytest.mark.parametrize(
    ("flags", "expected"), [("avx512_bf16 amx_bf16 amx_tile", True), ("avx512_bf16", False)]
)
def test_amx_is_read_from_the_description_of_the_processor(tmp_path, monkeypatch, flags, expected):
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(layers, "CPU_DESCRIPTION", path)
    assert not layers.has_amx.__wrapped__(), "a system without this file"
    path.write_text(f"processor : 0\nflags : fpu {flags}\n")
    assert layers.has_amx.__wrapped__() == expected
