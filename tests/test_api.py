"""`tf_simclr.load`: where models come from, and what images may be."""

import io
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from etils import epath
from PIL import Image

import tf_simclr
from tests.helpers import reference_model
from tf_simclr import config
from tf_simclr.checkpoints import weights
from tf_simclr.config import inheritance
from tf_simclr.data import augment
from tf_simclr.errors import UserError
from tf_simclr.export import exporter, model_card
from tf_simclr.models import resnet
from tf_simclr.models.network import Network

NAMES = tuple("abcdefghij")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(network, path of its export, the model that is loaded from it)."""
    patch = pytest.MonkeyPatch()
    patch.setitem(resnet.FAMILY, 18, (resnet.FAMILY[18][0], (1,)))
    settings = config.build(
        {"resnet_depth": 18, "image_size": 40, "width_multiplier": 0.1, "proj_out_dim": 8}
    )
    network = Network(settings, 10)
    network.build_variables()
    folder = tmp_path_factory.mktemp("api")
    description = model_card.ModelDescription(settings, NAMES, 2, {}, {})
    exporter.export(network, description, epath.Path(folder), options=settings.export)
    patch.undo()
    path = folder / "saved_model" / "2"
    return network, path, tf_simclr.load(path)


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)


def file_of(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def test_whatever_images_are(exported, photo, tmp_path):
    network, _, model = exported
    (tmp_path / "a.png").write_bytes(file_of(photo))
    as_seen = augment.eval_image(photo, 40)[None]
    expected = network.predictions(as_seen)
    path = tmp_path / "a.png"
    for images in (
        str(path),
        path,
        [path],
        file_of(photo),
        [file_of(photo)],
        photo[None],
        [photo],
        as_seen.numpy(),
        as_seen,
        as_seen.numpy().astype(np.float64),
    ):
        np.testing.assert_allclose(model.embed(images), expected["embedding"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        model.predict([photo]), expected["probabilities"], rtol=1e-4, atol=1e-5
    )
    endpoints = model.endpoints([photo, photo[:30]])  # of different sizes
    assert set(endpoints) == set(expected)
    for name, values in endpoints.items():
        assert values.shape == (2, *expected[name].shape[1:]) and values.dtype == np.float32
    assert (model.class_names, model.image_size) == (NAMES, 40)


def test_more_images_than_go_through_at_once(exported, rng):
    network, _, model = exported
    images = rng.random((70, 40, 40, 3)).astype(np.float32)
    np.testing.assert_allclose(
        model.embed(images), network(images)["final_avg_pool"], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    "images, message",
    [
        ([], "there are no images"),
        (np.zeros((1, 4, 4, 3), np.float32) - 1, r"in \[0, 1\], got -1 to -1"),
        (np.full((1, 4, 4, 3), 255.0), "divide by 255"),
        (np.zeros((4, 4, 5), np.uint8), r"shape \[H, W, 3\]"),
        (np.zeros((1, 4, 4, 1), np.uint8), "grayscale ones as three equal channels"),
        (np.zeros((1, 4, 4, 3), np.int32), "got int32"),
        (np.full((1, 4, 4, 3), np.nan), "got nan"),
        ([np.zeros((4, 4, 3)), np.zeros((5, 4, 3))], "of one size"),
        ("nowhere.png", "nowhere.png: not an image that can be read .*No such file"),
        (b"text", "JPEG, PNG, BMP, GIF and WebP are accepted"),
    ],
    ids=str,
)
def test_wrong_images(exported, images, message):
    with pytest.raises(ValueError, match=message):
        exported[2].embed(images)


def test_without_linear_head(tmp_path):
    path = tmp_path / "saved_model" / "7"
    reference = reference_model.ReferenceModel(18, 0.125, image_size=32, num_proj_layers=1)
    reference_model.save_saved_model(reference, path)
    model, images = (
        tf_simclr.load(path, image_size=32),
        tf.random.stateless_uniform([2, 32, 32, 3], [1, 2]),
    )
    assert model.class_names == () and tf_simclr.load(path).image_size == 224
    np.testing.assert_allclose(
        model.embed(images), reference(images)["final_avg_pool"], rtol=1e-5, atol=1e-5
    )
    with pytest.raises(ValueError, match="no linear head"):
        model.predict(images)
    # A run of the original release has its flags beside the folder of its exports.
    flags = {"logtostderr": False, "resnet_depth": 18, "width_multiplier": 0.125, "image_size": 40}
    (tmp_path / "flags.json").write_text(json.dumps(flags))
    assert tf_simclr.load(path).image_size == 40


def test_wrong_models(tmp_path):
    with pytest.raises(
        UserError, match=f"^{tmp_path / 'nowhere'}: no such file or directory; give a run directory"
    ):
        tf_simclr.load(tmp_path / "nowhere")
    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    with pytest.raises(UserError, match=r"other: as a SavedModel it is not one"):
        tf_simclr.load(tmp_path / "other")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "saved_model.pb").write_bytes(b"nothing")
    with pytest.raises(UserError, match="broken: as a SavedModel it is not one"):
        tf_simclr.load(tmp_path / "broken")


def test_a_trained_encoder_is_an_ordinary_keras_model(exported, rng, shallow):
    """As large as the SavedModel says; its numbers are those of the SavedModel."""
    _, path, model = exported
    images = rng.random((2, 40, 40, 3)).astype(np.float32)
    features = model.embed(images)
    for encoder in (model.keras_model(), tf_simclr.resnet(weights=path)):
        assert isinstance(encoder, keras.Model)
        np.testing.assert_allclose(encoder(images), features, rtol=1e-5, atol=1e-5)
    larger = rng.random((1, 56, 56, 3)).astype(np.float32)
    assert tf_simclr.resnet(weights=path, image_size=56, width=0.1)(larger).shape == (1, 6)
    logits = model.keras_model(outputs="logits")(images)
    np.testing.assert_allclose(tf.nn.softmax(logits), model.predict(images), rtol=1e-5, atol=1e-5)


def test_the_newest_of_several_exports(exported, tmp_path):
    """A folder of versions, as TensorFlow Serving has it and as the verdict names it."""
    _, path, model = exported
    shutil.copytree(path, tmp_path / "saved_model" / "10")
    (tmp_path / "saved_model" / "9").mkdir()
    folder = tmp_path / "saved_model"
    images = np.zeros([1, 40, 40, 3], np.float32)
    np.testing.assert_array_equal(tf_simclr.load(folder).embed(images), model.embed(images))
    assert weights.Weights(str(folder)).step == 10
    assert inheritance.saved_flags(str(folder))["width_multiplier"] == 0.1


def test_after_a_training_in_bfloat16(exported, rng, tmp_path, shallow):
    """A training leaves its policy to the process; a model is loaded in float32 all the same."""
    _, path, model = exported
    shutil.copytree(path / "variables", tmp_path / "run")
    shutil.copy(path / "assets" / "flags.json", tmp_path / "run")
    images = rng.random((2, 40, 40, 3)).astype(np.float32)
    keras.config.set_dtype_policy("mixed_bfloat16")
    loaded = tf_simclr.load(tmp_path / "run" / "variables")
    np.testing.assert_allclose(loaded.embed(images), model.embed(images), rtol=1e-5, atol=1e-5)


def test_weights_of_another_resnet(exported, tmp_path, shallow):
    path = exported[1]
    with pytest.raises(ValueError, match=r"^depth=50: the weights in .* are of depth=18, width=0"):
        tf_simclr.resnet(depth=50, weights=path)
    with pytest.raises(UserError, match=r"^\S*nowhere: no such file or directory"):
        tf_simclr.resnet(weights=tmp_path / "nowhere")
