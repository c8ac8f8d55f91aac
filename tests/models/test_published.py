"""A published backbone as the encoder: what goes in, what comes out, which layers are where."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.checkpoints import backbones
from tf_simclr.errors import UserError
from tf_simclr.models import architecture, layers
from tf_simclr.models.network import make_encoder


@pytest.fixture
def encoder(presets, settings):
    """A function: name of a preset, flags -> the encoder with its weights."""

    def encoder(name, **flags):
        options = settings(backbone=f"hub:{presets / name}", **flags)
        backbones.prepare(options, options.train.model_dir)
        made = make_encoder(options)
        backbones.initialize(made, options.model.backbone)
        return made

    return encoder


def test_a_transformer_sees_the_images_of_its_preset(encoder, presets, rng):
    """The same outputs as keras-hub gives for pixels from 0 to 255."""
    pixels = rng.integers(0, 256, (2, 24, 24, 3)).astype(np.float32)
    converter = keras_hub.layers.ImageConverter.from_preset(str(presets / "dino"))
    backbone = keras_hub.models.Backbone.from_preset(str(presets / "dino"))
    tokens = backbone({"images": converter(pixels)}).numpy()  # class, register, 36 patches
    endpoints = encoder("dino", image_size=24)(pixels / 255)
    np.testing.assert_allclose(endpoints["final_avg_pool"], tokens[:, 0], atol=1e-4)
    patches = tokens[:, 2:].reshape(2, 6, 6, 8)
    np.testing.assert_allclose(endpoints["block_group4"], patches, atol=1e-4)
    pyramid = getattr(backbone, "pyramid_outputs", {})  # not in old versions
    stages = keras.Model(backbone.inputs, pyramid)({"images": converter(pixels)})
    for number in (1, 2, 3) if pyramid else ():
        expected = stages[f"stage{number}"].numpy()[:, 2:].reshape(2, 6, 6, 8)
        np.testing.assert_allclose(endpoints[f"block_group{number}"], expected, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet", "encoder.keras"])
def test_a_convolutional_network_is_pooled(encoder, presets, rng, name):
    images = rng.random((2, 16, 16, 3)).astype(np.float32)
    made = encoder(name, backbone_input="signed")
    endpoints = made(images)
    if name == "resnet":
        backbone = keras_hub.models.Backbone.from_preset(str(presets / name))
        expected = backbone(2 * images - 1).numpy().mean((1, 2))
        assert endpoints["block_group3"].shape == (2, 4, 4, 64)
    else:
        expected = keras.saving.load_model(presets / name)(2 * images - 1)
    np.testing.assert_allclose(endpoints["final_avg_pool"], expected, atol=1e-4)
    assert made.feature_dim == expected.shape[-1]
    assert made.has_batch_norm


def test_other_values_of_images():
    white, black = np.ones(3), np.zeros(3)
    for name, (low, high) in {"unit": (0, 1), "signed": (-1, 1), "bytes": (0, 255)}.items():
        scale, offset = architecture.INPUT_RANGES[name]
        np.testing.assert_allclose([black * scale + offset, white * scale + offset][0], low)
        np.testing.assert_allclose(white * scale + offset, high)
    scale, offset = architecture.INPUT_RANGES["imagenet"]
    np.testing.assert_allclose(np.multiply((0.485, 0.456, 0.406), scale) + offset, 0, atol=1e-9)


def test_nothing_is_dropped(encoder):
    """Dropout and stochastic depth are off, so that a step is a function of the images."""
    made = encoder("vit")
    images = tf.random.stateless_uniform([4, 16, 16, 3], [1, 2])
    first, second = (made(images, training=training) for training in (True, False))
    np.testing.assert_allclose(first["final_avg_pool"], second["final_avg_pool"], atol=1e-6)
    assert len(made.variables) == len(made.weights)  # no state of random numbers


def test_levels_cover_all_variables_once(encoder):
    for name, flags, count in (("vit", {}, 3), ("dino", {"image_size": 24}, 5), ("resnet", {}, 5)):
        made = encoder(name, **flags)
        variables = [v.path for level in made.levels for v in level]
        assert sorted(variables) == sorted(v.path for v in made.variables)
        assert len(made.levels) == count
        assert all(path.startswith("model/encoder/") for path in variables)


def test_a_wrapped_transformer_is_divided_as_it_is_alone(presets, settings, tmp_path):
    """A plain Keras model around a backbone of keras-hub."""
    inner = keras_hub.models.Backbone.from_preset(str(presets / "vit"))
    images = keras.Input((16, 16, 3))
    wrapped = keras.Model(images, inner(keras.layers.Rescaling(2.0, -1.0)(images)))
    wrapped.save(tmp_path / "wrapped.keras")
    options = settings(backbone=f"hub:{tmp_path / 'wrapped.keras'}")
    backbones.prepare(options, options.train.model_dir)
    made = make_encoder(options)
    backbones.initialize(made, options.model.backbone)
    assert len(made.levels) == 3
    pixels = tf.random.stateless_uniform([2, 16, 16, 3], [1, 2])
    endpoints = made(pixels)
    assert endpoints["block_group4"].shape == (2, 4, 4, 8)
    expected = inner(2 * pixels - 1)[:, 0]
    np.testing.assert_allclose(endpoints["final_avg_pool"], expected, atol=1e-5)


def test_only_kernels_decay(encoder):
    made = encoder("dino", image_size=24)
    not_decayed = {v.path for v in made.not_decayed}
    decayed = {v.path for v in made.trainable_variables} - not_decayed
    assert decayed and all(path.endswith("/kernel") for path in decayed)
    tokens = ("cls_token", "register_tokens", "interpolated_position_embeddings")
    assert {path.rsplit("/", 1)[1] for path in not_decayed} >= {*tokens, "gamma", "bias"}


@pytest.mark.parametrize(("after_block", "frozen_blocks"), [(-1, 0), (0, 0), (2, 2), (4, 4)])
def test_freezing_a_transformer(encoder, after_block, frozen_blocks):
    made = encoder("dino", image_size=24)
    made.freeze(after_block)
    trained = {v.path for v in made.trainable_variables}
    blocks = [any(f"/layers_{number}/" in path for path in trained) for number in range(4)]
    assert blocks == [number >= frozen_blocks for number in range(4)]
    assert any("cls_token" in path for path in trained) == (after_block < 0)
    assert bool(trained) == (after_block < 4)


def test_freezing_keeps_batch_norm(encoder):
    made = encoder("resnet")
    made.freeze(4)
    before = [v.numpy() for v in made.variables]
    made(tf.random.stateless_uniform([4, 16, 16, 3], [1, 2]), training=True)
    for v, value in zip(made.variables, before, strict=True):
        np.testing.assert_array_equal(v, value)


def test_a_repeated_pass_counts_no_batch_twice(encoder):
    made = encoder("resnet")
    images = tf.random.stateless_uniform([4, 16, 16, 3], [1, 2])
    expected = made(images, training=True)["final_avg_pool"]
    before = [v.numpy() for v in made.variables]
    with layers.repeated_pass():
        features = made(images, training=True)["final_avg_pool"]
    np.testing.assert_allclose(features, expected, atol=1e-5)
    for v, value in zip(made.variables, before, strict=True):
        np.testing.assert_array_equal(v, value)


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("vit", {"image_size": 18}, "patches of 4 pixels; give --image_size=16 or --image_size=20"),
        ("vit", {"image_size": 20}, r"with --image_size=20: .* give --image_size=16, which it was"),
        ("encoder.keras", {"image_size": 20}, "takes images of 16 pixels alone; give --image_size"),
        ("text", {}, "it is not an image backbone: its input is not images"),
        ("nothing", {}, "keras-hub can't load it"),
    ],
)
def test_what_does_not_fit_is_a_line(encoder, name, flags, message):
    with pytest.raises(UserError, match=message) as raised:
        encoder(name, **flags)
    assert "\n" not in str(raised.value)
