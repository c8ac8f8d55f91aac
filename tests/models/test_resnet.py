"""The encoder family: sizes, shapes, stems, selective kernels, freezing."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_simclr
from tf_simclr.models import heads, layers, residual_blocks, resnet
from tf_simclr.models.layers import BatchNorm
from tf_simclr.objectives import objective_class

MILLIONS = {  # SimCLRv2 table 1: (width, sk_ratio) -> {depth: parameters}
    (1, 0): {50: 24, 101: 43, 152: 58},
    (1, 0.0625): {50: 35, 101: 65, 152: 89},
    (2, 0): {50: 94, 101: 170, 152: 233},
    (2, 0.0625): {50: 140, 101: 257, 152: 354},
    (3, 0.0625): {152: 795},
}


def size(layer):
    return sum(int(np.prod(v.shape)) for v in layer.variables)


@pytest.mark.parametrize(("width", "sk_ratio"), MILLIONS)
def test_parameter_counts(width, sk_ratio, monkeypatch):
    """A deeper network only repeats blocks, so one with two of each kind is built."""
    monkeypatch.setattr(
        keras.initializers.VarianceScaling,
        "__call__",
        lambda self, shape, dtype=None: tf.zeros(shape, dtype),
    )
    family = dict(resnet.FAMILY)
    built_counts = (2, 2, 2, 2)
    monkeypatch.setitem(resnet.FAMILY, 50, (residual_blocks.BottleneckBlock, built_counts))
    encoder = resnet.ResNet(50, width, sk_ratio)
    encoder(tf.zeros([1, 33, 33, 3]))
    assert [len(group) for group in encoder.groups] == list(built_counts)
    block_sizes = [size(group[1]) for group in encoder.groups]
    for depth, millions in MILLIONS[width, sk_ratio].items():
        block, counts = family[depth]
        assert block is residual_blocks.BottleneckBlock
        total = size(encoder)
        for count, built_count, block_size in zip(counts, built_counts, block_sizes, strict=True):
            total += (count - built_count) * block_size
        assert round(total / 1e6) == millions


@pytest.mark.parametrize("depth", resnet.FAMILY)
def test_depth_is_the_number_of_weighted_layers(depth):
    block, counts = resnet.FAMILY[depth]
    assert depth == sum(counts) * (2 if block is residual_blocks.BasicBlock else 3) + 2


def test_variables_of_resnet50_with_heads(settings):
    options = settings(resnet_depth=50, width_multiplier=0.05)
    objective = objective_class(options)(options, 10)
    objective.build_variables()
    assert (len(objective.variables), len(objective.trainable_variables)) == (281, 169)


@pytest.mark.parametrize(
    ("depth", "sk_ratio", "se_ratio"),
    [(18, 0, 0), (34, 0.0625, 0), (50, 0.0625, 0.25), (50, 0, 0.25)],
)
@pytest.mark.parametrize("pixels", [32, 64])
def test_shapes_of_the_endpoints(depth, sk_ratio, se_ratio, pixels, monkeypatch):
    monkeypatch.setitem(resnet.FAMILY, depth, (resnet.FAMILY[depth][0], (1, 2, 1, 1)))
    encoder = resnet.ResNet(depth, 0.05, sk_ratio, se_ratio, image_size=pixels)
    endpoints = encoder(tf.zeros([1, pixels, pixels, 3]), training=True)
    assert list(endpoints) == [
        "initial_conv",
        "initial_max_pool",
        "block_group1",
        "block_group2",
        "block_group3",
        "block_group4",
        "final_avg_pool",
    ]
    is_small = pixels <= 32
    first = pixels if is_small else pixels // 4
    for group in range(4):
        assert endpoints[f"block_group{group + 1}"].shape[1] == first // 2**group
    assert endpoints["initial_conv"].shape[1] == (pixels if is_small else pixels // 2)
    assert endpoints["final_avg_pool"].shape == (1, encoder.feature_dim)
    np.testing.assert_allclose(
        endpoints["final_avg_pool"], tf.reduce_mean(endpoints["block_group4"], [1, 2])
    )


@pytest.mark.parametrize(
    ("pixels", "sk_ratio", "kernels"),
    [
        (32, 0.0625, [(3, 3, 3, 64)]),
        (33, 0, [(7, 7, 3, 64)]),
        (33, 0.0625, [(3, 3, 3, 32), (3, 3, 32, 32), (3, 3, 32, 64)]),
    ],
)
def test_stems(pixels, sk_ratio, kernels):
    stem = resnet.ResNet(18, 1.0, sk_ratio, image_size=pixels).stem
    stem(tf.zeros([1, pixels, pixels, 3]))
    assert [tuple(conv.kernel.shape) for conv in stem.convs] == kernels


def test_block_starts_as_its_shortcut(rng):
    """Gamma of the last batch norm is 0, so at first the branch adds nothing."""
    block = residual_blocks.BottleneckBlock(4, 1, False, 0.0, 0.0, BatchNorm)
    x = tf.constant(rng.normal(size=(2, 4, 4, 16)), tf.float32)
    np.testing.assert_allclose(block(x, training=True), tf.nn.relu(x))


def test_selective_kernel_is_a_softmax_over_two_streams(rng):
    sk = residual_blocks.SelectiveKernel(4, 1, 0.0625, BatchNorm)
    x = tf.constant(rng.normal(size=(2, 5, 5, 4)), tf.float32)
    y = sk(x)
    assert tuple(sk.squeeze.conv.kernel.shape) == (1, 1, 4, 32)
    streams = sk.streams(x).numpy().reshape(2, 5, 5, 2, 4)  # channel-major halves are the streams
    pooled = streams.sum(3).mean((1, 2), keepdims=True)
    logits = sk.excite(sk.squeeze(tf.constant(pooled))).numpy().reshape(2, 1, 1, 2, 4)
    weights = np.exp(logits) / np.exp(logits).sum(3, keepdims=True)
    np.testing.assert_allclose(y, (weights * streams).sum(3), rtol=1e-4, atol=1e-6)


def test_squeeze_and_excite(rng):
    se = residual_blocks.SqueezeExcite(4, 16, 0.25)
    x = tf.constant(rng.normal(size=(2, 3, 3, 16)), tf.float32)
    y = se(x)
    assert tuple(se.squeeze.kernel.shape) == (16, 1)
    pooled = x.numpy().mean((1, 2))
    hidden = np.maximum(pooled @ se.squeeze.kernel.numpy() + se.squeeze.bias.numpy(), 0)
    logits = hidden @ se.excite.kernel.numpy() + se.excite.bias.numpy()
    gate = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(y, x * gate[:, None, None], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("strides", [1, 2])
def test_shortcut_with_selective_kernels_averages_first(rng, strides):
    shortcut = residual_blocks.Shortcut(3, strides, BatchNorm, True)
    x = rng.normal(size=(1, 4, 4, 2)).astype(np.float32)
    y = shortcut(tf.constant(x))
    kernel = shortcut.project.conv.kernel.numpy()[0, 0] / np.sqrt(1 + 1e-5)
    if strides == 2:  # the padding of (0, 1) only matters for odd sizes
        pooled = x.reshape(1, 2, 2, 2, 2, 2).mean((2, 4))
    else:  # SAME: what lies outside does not count
        padded = np.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)], constant_values=np.nan)
        corners = [(0, 0), (0, 1), (1, 0), (1, 1)]
        pooled = np.nanmean([padded[:, i : i + 4, j : j + 4] for i, j in corners], 0)
    np.testing.assert_allclose(y, pooled @ kernel, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("after", [-1, 0, 2, 4])
def test_freezing(after):
    encoder = resnet.ResNet(18, 0.05, image_size=16)
    encoder(tf.zeros([1, 16, 16, 3]))
    encoder.freeze(after)
    before = [v.numpy() for v in encoder.variables]
    encoder(tf.random.uniform([2, 16, 16, 3]), training=True)
    trainable = {id(v) for v in encoder.trainable_variables}
    for v, value in zip(encoder.variables, before, strict=True):
        _, layer, *_ = v.path.split("/")
        group = 0 if layer == "stem" else int(layer[len("group")])
        if group <= after:
            assert id(v) not in trainable
            np.testing.assert_array_equal(v, value)  # statistics included
        elif "moving_mean" in v.path:
            assert np.any(v.numpy() != value)
        elif "moving" not in v.path:
            assert id(v) in trainable


def test_plain_keras_model_fits_and_is_saved(shallow, rng, tmp_path):
    encoder = tf_simclr.resnet(depth=18, width=0.05, image_size=16)
    assert isinstance(encoder, keras.Model)
    model = keras.Sequential([encoder, keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=False)  # compiling would take most of the time
    x = rng.random((8, 16, 16, 3)).astype(np.float32)
    x[:4] *= 0.2
    history = model.fit(x, np.repeat([0, 1], 4), epochs=5, verbose=0).history["loss"]
    assert history[-1] < history[0]
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(
        keras.models.load_model(tmp_path / "model.keras")(x), model(x), rtol=1e-5, atol=1e-6
    )


def test_unknown_depth():
    with pytest.raises(ValueError, match=r"depth=51.*18, 34, 50, 101, 152, 200"):
        tf_simclr.resnet(51)


@pytest.mark.parametrize("layer_sizes", [[], [8], [6, 6, 8]])
def test_projection_head(rng, layer_sizes):
    head = heads.ProjectionHead(len(layer_sizes), 8)
    h = tf.constant(rng.normal(size=(16, 6)), tf.float32)
    outputs = head(h, training=True)
    assert [o.shape[1] for o in outputs] == [6, *layer_sizes]
    np.testing.assert_array_equal(outputs[0], h)
    for layer, (x, y) in enumerate(itertools.pairwise(outputs), start=1):
        dense, norm = head.dense[layer - 1], head.norms[layer - 1]
        assert not dense.use_bias
        assert np.std(dense.kernel) == pytest.approx(0.01, rel=0.4)
        z = x @ dense.kernel.numpy()
        z = (z - np.mean(z, 0)) / np.sqrt(np.var(z, 0) + 1e-5)
        last = layer == len(layer_sizes)
        assert norm.center is not last
        np.testing.assert_allclose(y, z if last else np.maximum(z, 0), rtol=1e-2, atol=1e-3)


def test_projection_head_cut_short_is_the_beginning_of_the_whole_one(rng):
    """Fine-tuning keeps the first layers, ReLU included, under the names they had."""
    whole = heads.ProjectionHead(3, 8)
    short = heads.ProjectionHead(3, 8, keep=1)
    h = tf.constant(rng.normal(size=(4, 6)), tf.float32)
    whole(h), short(h)
    first_layer = [v for v in whole.variables if "dense1/" in v.path or "norm1/" in v.path]
    assert [v.path for v in short.variables] == [v.path for v in first_layer]
    for variable, value in zip(short.variables, first_layer, strict=True):
        variable.assign(value)
    _, expected, *_ = whole(h)
    np.testing.assert_array_equal(short(h)[-1], expected)


def test_supervised_head_can_start_at_zero(rng):
    h = tf.constant(rng.normal(size=(4, 6)), tf.float32)
    assert not np.any(heads.SupervisedHead(3, zero_init=True)(h))
    assert np.any(heads.SupervisedHead(3)(h))


def test_batch_norm_variables_are_found_in_nested_lists():
    encoder = resnet.ResNet(18, 0.05, image_size=16)
    encoder(tf.zeros([1, 16, 16, 3]))
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    expected = {id(v) for v in encoder.variables if v.path.split("/")[-1] in names}
    assert layers.batch_norm_variables(encoder) == expected


@pytest.mark.parametrize(
    ("saved", "meant"), [(False, "none"), (True, "block"), ("norm", "norm"), ("block", "block")]
)
def test_models_that_were_saved_with_a_bool_load(saved, meant):
    config = resnet.ResNet(18, 0.1, image_size=16).get_config()
    loaded = resnet.ResNet.from_config({**config, "rematerialize": saved})
    assert loaded.get_config() == {**config, "rematerialize": meant}
