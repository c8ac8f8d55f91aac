"""A trained network as a functional Keras model: the same numbers, without this package."""

import zipfile

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tf_simclr import config
from tf_simclr.checkpoints import backbones
from tf_simclr.models import keras_model, resnet
from tf_simclr.models.network import Network

SELECTIVE = {"resnet_depth": 50, "sk_ratio": 0.0625, "image_size": 40, "ft_proj_selector": 1}
VARIANTS = {
    "small images": {"resnet_depth": 18, "image_size": 16},
    "selective kernels": SELECTIVE,
    "gates": {"resnet_depth": 18, "se_ratio": 0.25, "image_size": 33, "num_proj_layers": 2},
    "lab": {"resnet_depth": 18, "image_size": 16, "backbone": "lab", "se_ratio": 0.25},
    "whole head": {"resnet_depth": 18, "image_size": 16, "ft_proj_selector": 3},
    "last layer": {"resnet_depth": 18, "image_size": 16, "ft_proj_selector": -1},
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


@pytest.fixture
def pyramid(monkeypatch):
    """The pyramid of a network with four groups, for images of 64 pixels."""
    monkeypatch.setitem(resnet.FAMILY, 18, (resnet.FAMILY[18][0], (1, 1, 1, 1)))
    network = network_of(resnet_depth=18, image_size=64)
    return network.keras_model("pyramid")


@pytest.mark.parametrize("name", ["RetinaNetBackbone", "DeepLabV3Backbone"])
def test_detectors_of_keras_hub_train_it(pyramid, name):
    assert list(pyramid.pyramid_outputs) == ["P2", "P3", "P4", "P5"]
    options = {
        "RetinaNetBackbone": {"min_level": 3, "max_level": 5, "use_p5": False},
        "DeepLabV3Backbone": {
            "spatial_pyramid_pooling_key": "P5",
            "low_level_feature_key": "P2",
            "upsampling_size": 8,
            "dilation_rates": [1],
        },
    }
    kind = getattr(keras_hub.models, name)
    detector = kind(image_encoder=pyramid, **options[name])
    kernel = pyramid.get_layer("stem_conv0").kernel
    before = kernel.numpy()
    images = np.random.default_rng(1).random((2, 64, 64, 3), dtype=np.float32)
    with tf.GradientTape() as tape:
        outputs = keras.tree.flatten(detector(images, training=True))
        loss = tf.add_n([tf.reduce_mean(tf.square(output)) for output in outputs])
    weights = detector.trainable_variables
    gradients = tape.gradient(loss, [weight.value for weight in weights])
    keras.optimizers.SGD(0.1).apply(gradients, weights)
    assert np.any(kernel.numpy() != before)


@pytest.mark.parametrize("name", ["dino", "resnet"])
def test_published_backbones(presets, settings, name):
    """Their own layers, which keras-hub loads again."""
    options = settings(backbone=f"hub:{presets / name}", image_size=24, ft_proj_selector=0)
    backbones.prepare(options, options.train.model_dir)
    network = Network(options.replace(train_mode="finetune"), 5)
    network.build_variables()
    images = images_for(network)
    expected = {name: value.numpy() for name, value in network(images).items()}
    assert_same(network.keras_model()(images).numpy(), expected["final_avg_pool"])
    assert_same(network.keras_model("logits")(images).numpy(), expected["logits_sup"])
    if name == "dino":
        with pytest.raises(ValueError, match="this backbone has tokens, and no feature maps"):
            network.keras_model("pyramid")
        return
    last_map = list(network.keras_model("pyramid")(images).values())[-1]
    assert_same(last_map.numpy(), expected["block_group4"])


def test_what_it_does_not_have():
    network = network_of(**VARIANTS["small images"])
    with pytest.raises(ValueError, match="outputs='h': accepted are features, pyramid, logits"):
        keras_model.build(network, "h")
    network.supervised_head = None
    with pytest.raises(ValueError, match="no linear head; fine-tune it first"):
        keras_model.build(network, "logits")
