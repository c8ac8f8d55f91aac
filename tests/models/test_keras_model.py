"""A trained network as a functional Keras model: the same numbers, without this package."""

import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_simclr import config
from tf_simclr.models import keras_model, resnet
from tf_simclr.models.network import Network

SELECTIVE = {"resnet_depth": 50, "sk_ratio": 0.0625, "image_size": 40, "ft_proj_selector": 1}
VARIANTS = {
    "small images": {"resnet_depth": 18, "image_size": 16},
    "selective kernels": SELECTIVE,
    "gates": {"resnet_depth": 18, "se_ratio": 0.25, "image_size": 33, "num_proj_layers": 2},
    "whole head": {"resnet_depth": 18, "image_size": 16, "ft_proj_selector": 3},
}
LEVELS = {16: ["P0", "P1"], 33: ["P2", "P3"], 40: ["P2", "P3"]}  # by image size, of two groups

pytestmark = pytest.mark.usefixtures("shallow", "shallow_bottlenecks")


@pytest.fixture
def shallow_bottlenecks(monkeypatch):
    """ResNet-50 is two blocks, the second one with a stride."""
    monkeypatch.setitem(resnet.FAMILY, 50, (resnet.FAMILY[50][0], (1, 1)))


def network_of(**flags):
    """A network whose variables are not the values that every network starts with."""
    network = Network(config.build({"width_multiplier": 0.1, "proj_out_dim": 8, **flags}), 5)
    network.build_variables()
    rng = np.random.default_rng(0)
    for v in network.variables:
        v.assign(v + rng.uniform(0.01, 0.1, v.shape))
    return network


def images_for(network):
    size = network.settings.data.image_size
    return np.random.default_rng(1).random((2, size, size, 3), dtype=np.float32)


def assert_same(actual, expected):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual / scale, expected / scale, atol=1e-5)


@pytest.mark.parametrize("flags", VARIANTS.values(), ids=list(VARIANTS))
def test_outputs_are_those_of_the_network(flags, tmp_path):
    network = network_of(**flags)
    images = images_for(network)
    expected = {name: value.numpy() for name, value in network(images).items()}
    features = network.keras_model()
    assert_same(features(images).numpy(), expected["final_avg_pool"])
    assert_same(network.keras_model("logits")(images).numpy(), expected["logits_sup"])
    pyramid = network.keras_model("pyramid")
    maps = pyramid(images)
    groups = [name for name in expected if name.startswith("block_group")]
    assert list(maps) == list(pyramid.pyramid_outputs)
    assert list(maps)[:2] == LEVELS[images.shape[1]][: len(maps)]
    for feature_map, group in zip(maps.values(), groups, strict=True):
        assert_same(feature_map.numpy(), expected[group])

    features.save(tmp_path / "encoder.keras")
    with zipfile.ZipFile(tmp_path / "encoder.keras") as file:
        assert b"tf_simclr" not in file.read("config.json")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    np.testing.assert_array_equal(loaded(images), features(images))


def test_it_is_a_copy_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = network_of(**VARIANTS["small images"])
        model = network.keras_model("logits")
    finally:
        keras.config.set_dtype_policy("float32")
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    before = network.supervised_head.kernel.numpy()
    model.get_layer("logits").kernel.assign_add(tf.ones_like(before))
    np.testing.assert_array_equal(network.supervised_head.kernel, before)


@pytest.mark.parametrize("trainable", [True, False])
def test_fit(trainable):
    """A frozen model keeps its statistics, too, while a layer on top of it learns."""
    network = network_of(**VARIANTS["small images"])
    encoder = network.keras_model(trainable=trainable)
    before = [weight.numpy() for weight in encoder.weights]
    model = keras.Sequential([encoder, keras.layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    images = images_for(network)
    model.fit(images, np.array([0, 1]), verbose=0)
    changed = [np.any(weight != old) for weight, old in zip(encoder.weights, before)]
    assert all(changed) if trainable else not any(changed)


def test_what_it_does_not_have():
    network = network_of(**VARIANTS["small images"])
    with pytest.raises(ValueError, match="outputs='h': accepted are features, pyramid, logits"):
        keras_model.build(network, "h")
    network.supervised_head = None
    with pytest.raises(ValueError, match="no linear head; fine-tune it first"):
        keras_model.build(network, "logits")
