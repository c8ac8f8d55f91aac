"""Convolutions by matrix products: where, and that they are convolutions."""

import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.models import convolution, layers


@pytest.mark.parametrize(
    ("kernel_size", "height", "width"),
    [(1, 14, 5), (1, 1, 1), (3, 4, 7), (3, 7, 2), (3, 8, 8), (3, 1, 1)],
)
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
@pytest.mark.parametrize("all_passes", [True, False])
def test_convolution_by_products(rng, kernel_size, height, width, dtype, all_passes):
    """Value and both gradients are those of TensorFlow's convolution."""
    x = tf.constant(rng.normal(size=(2, height, width, 3)), tf.float32)
    kernel = tf.constant(rng.normal(size=(kernel_size, kernel_size, 3, 5)), tf.float32)
    upstream = tf.constant(rng.normal(size=(2, height, width, 5)), tf.float32)

    def value_and_gradients(convolve, dtype):
        inputs = tf.cast(x, dtype), tf.cast(kernel, dtype)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = convolve(*inputs)
        return [y, *tape.gradient(y, inputs, tf.cast(upstream, dtype))]

    def by_products(x, kernel):
        return convolution.by_products(x, kernel, all_passes)

    results = value_and_gradients(by_products, dtype)
    reference = value_and_gradients(same_convolution, tf.float32)
    tolerance = 1e-5 if dtype == tf.float32 else 0.03
    for result, expected in zip(results, reference, strict=True):
        assert result.dtype == dtype and result.shape == expected.shape
        scale = tf.reduce_max(tf.abs(expected))
        result = tf.cast(result, tf.float32) / scale
        np.testing.assert_allclose(result, expected / scale, atol=tolerance)


def same_convolution(x, kernel):
    return tf.nn.conv2d(x, kernel, 1, "SAME")


def sizes_of_products(monkeypatch, has_amx, kernel_size, channels=3, dtype=tf.bfloat16):
    """The sizes of maps for which the gradient of the kernel is products, and all passes are."""
    monkeypatch.setattr(convolution, "has_amx", lambda: has_amx)
    kernel = tf.zeros([kernel_size, kernel_size, channels, channels], dtype)
    sizes = range(1, 17)
    answers = [
        convolution.faster_products(tf.zeros([1, size, 1, channels], dtype), kernel)
        for size in sizes
    ]
    of_kernel = [size for size, answer in zip(sizes, answers) if answer.kernel_gradient]
    of_others = [size for size, answer in zip(sizes, answers) if answer.others]
    return len(of_kernel), len(of_others)


def test_where_products_are_faster(monkeypatch):
    """In bfloat16 on a CPU, up to sizes that depend on the processor."""
    assert sizes_of_products(monkeypatch, True, 1) == (14, 14)
    assert sizes_of_products(monkeypatch, True, 3) == (8, 7)
    assert sizes_of_products(monkeypatch, True, 7) == (0, 0)
    assert sizes_of_products(monkeypatch, False, 3) == (4, 0)
    assert sizes_of_products(monkeypatch, False, 3, channels=512) == (7, 0)
    assert sizes_of_products(monkeypatch, True, 3, dtype=tf.float32) == (0, 0)
    monkeypatch.setattr(convolution.distribute, "on_cpu", lambda: False)
    assert sizes_of_products(monkeypatch, True, 3) == (0, 0)


@pytest.mark.parametrize("has_amx", [True, False])
def test_layers_convolve_by_products(monkeypatch, has_amx):
    monkeypatch.setattr(convolution, "has_amx", lambda: has_amx)
    passes = []
    by_products = convolution.by_products

    def record(x, kernel, all_passes):
        passes.append(all_passes)
        return by_products(x, kernel, all_passes)

    monkeypatch.setattr(convolution, "by_products", record)
    for size in (4, 16):
        layers.Conv(2, 3, dtype=tf.bfloat16)(tf.zeros([1, size, size, 3], tf.bfloat16))
    assert passes == [has_amx]


@pytest.mark.parametrize(
    ("flags", "expected"), [("avx512_bf16 amx_bf16 amx_tile", True), ("avx512_bf16", False)]
)
def test_amx_is_read_from_the_description_of_the_processor(tmp_path, monkeypatch, flags, expected):
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(convolution, "CPU_DESCRIPTION", path)
    assert not convolution.has_amx.__wrapped__(), "a system without this file"
    path.write_text(f"processor : 0\nflags : fpu {flags}\n")
    assert convolution.has_amx.__wrapped__() == expected
