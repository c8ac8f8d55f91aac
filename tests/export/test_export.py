"""Exports in this process: the SavedModel, other formats, files. Others: test_consumers.py."""

import dataclasses
import io
import json
import os
import struct
import sys
import time
import types

import keras
import numpy as np
import onnxruntime
import pytest
import scipy.special
import tensorflow as tf
import tf2onnx.convert
from ai_edge_litert.interpreter import Interpreter
from etils import epath
from PIL import Image

import tf_simclr
from tf_simclr import config
from tf_simclr.checkpoints import backbones, pretrained
from tf_simclr.data import augment, datasets, decoding, gif, pipeline
from tf_simclr.data.image import EncodedImage
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.errors import Failed, UserError
from tf_simclr.evaluation import calibration
from tf_simclr.evaluation.metrics import linear_probe
from tf_simclr.export import exporter, formats, model_card, saved_model
from tf_simclr.models.network import Network, make_encoder
from tf_simclr.models.resnet import FAMILY
from tf_simclr.objectives import objective_class
from tf_simclr.objectives.base import Objective
from tf_simclr.runs import calibration as run_calibration
from tf_simclr.training.devices import DTYPE_POLICIES
from tf_simclr.training.experiment import build_experiment

MAX_PIXELS = 2**16
MAX_BLOCKS = 2**12  # of a GIF
PLAIN = {"resnet_depth": 18, "image_size": 16}
NAMES = tuple(f"digit {i}" for i in range(10))
VARIANTS = [
    {"resnet_depth": 18, "image_size": 16, "ft_proj_selector": 1},
    {"image_size": 40, "sk_ratio": 0.0625, "se_ratio": 0.25, "num_proj_layers": 1},
    {
        "backbone": "lab",
        "resnet_depth": 18,
        "image_size": 40,
        "proj_head_mode": "none",
        "se_ratio": 0.25,
    },
]


def make_shallow(patch):
    for depth, blocks in ((18, (1,)), (50, (1, 1))):
        patch.setitem(FAMILY, depth, (FAMILY[depth][0], blocks))


@pytest.fixture(autouse=True)
def _shallow(monkeypatch):
    """One block in all; in ResNet-50 a second one with a stride, where variants differ."""
    make_shallow(monkeypatch)


@pytest.fixture(autouse=True, scope="module")
def _few_blocks():
    """An exported model walks over all blocks of a GIF that it accepts, some ten thousand a second.

    No other file decodes with MAX_PIXELS, so none has compiled the decoder for it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gif, "MAX_BLOCKS", MAX_BLOCKS)
        yield


def network_of(num_classes=10, **flags):
    network = Network(
        config.build({"width_multiplier": 0.25, "proj_out_dim": 8, **flags}), num_classes
    )
    network.build_variables()
    for index, v in enumerate(network.variables):  # not the values that every network starts with
        v.assign(v + tf.random.stateless_uniform(v.shape, [3, index], 0.01, 0.1))
    return network


def export_of(network, directory, step=3, images=None, names=NAMES, calibration=None, **flags):
    settings = network.settings.replace(serving_max_pixels=MAX_PIXELS, **flags)
    metrics = {"eval/label_top_1_accuracy": 0.5}
    trained_on = {"images": 9, "labels": 8}
    description = model_card.ModelDescription(
        settings, names, step, metrics, trained_on, calibration
    )
    exporter.export(
        network,
        description,
        epath.Path(directory),
        options=settings.export,
        make_images=None if images is None else lambda: images,
    )
    return tf.saved_model.load(str(directory / "saved_model" / str(step)))


def calibrated(network, images, labels):
    """The calibration of a network on test images; of few training images as the reference."""
    outputs = network(images["test"])
    logits, features = outputs["logits_sup"].numpy(), outputs["final_avg_pool"].numpy()
    held_out = calibration.HeldOut(logits, labels, features, "360 labels, split test")
    reference = network(images["train"][:100])["final_avg_pool"].numpy()
    return calibration.fit(held_out, reference, step=3, precision=0.9)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """(network that knows digits a little, folder of its exports, test images, their labels)."""
    patch = pytest.MonkeyPatch()
    patch.setitem(FAMILY, 18, (FAMILY[18][0], (1, 1)))
    keras.utils.set_random_seed(0)
    network = Network(
        config.build(
            {
                "dataset": "digits",
                "resnet_depth": 18,
                "image_size": 16,
                "width_multiplier": 0.25,
                "proj_out_dim": 8,
            }
        ),
        10,
    )
    network.build_variables()
    splits = datasets.digits(None)
    train, test = splits["train"](), splits["test"]()
    images = {
        part.split: np.stack([augment.eval_image(image, 16) for image in part.records])
        for part in (train, test)
    }
    fitted = linear_probe.fit(
        np.concatenate(
            [network(images["train"][i : i + 200])["final_avg_pool"] for i in range(0, 1400, 200)]
        ),
        train.labels[:1400],
    )
    kernel, bias = linear_probe.as_linear_layer(fitted, 10)
    network.supervised_head.kernel.assign(kernel)
    network.supervised_head.bias.assign(bias)
    folder = tmp_path_factory.mktemp("digits")
    module = export_of(
        network,
        folder,
        images=images["test"][:8],
        calibration=calibrated(network, images, test.labels),
        export_formats=("saved_model", "tflite", "onnx", "keras"),
    )
    patch.undo()
    return network, module, folder, images["test"], test.labels


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """(network with a weight decay of 0.1, its export, folder of it)."""
    folder = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as patch:
        make_shallow(patch)
        network = network_of(**PLAIN, weight_decay=0.1)
        module = export_of(network, folder)
    return network, module, folder


@pytest.fixture(scope="module")
def variant(request, tmp_path_factory):
    """(network, its export, folder of it), with other formats where there are gates.

    Without gates it is the same operations as in `digits`.
    """
    flags = request.param
    others = ("tflite", "onnx") if "se_ratio" in flags else ()
    folder = tmp_path_factory.mktemp("variant")
    with pytest.MonkeyPatch.context() as patch:
        make_shallow(patch)
        network = network_of(**flags)
        images = images_for(network)
        module = export_of(network, folder, images=images, export_formats=("saved_model", *others))
    return network, module, folder


def images_for(network):
    size = network.settings.data.image_size
    return np.random.default_rng(0).random((3, size, size, 3)).astype(np.float32)


def file_of(image, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def assert_close(actual, expected, tolerance):
    scale = max(1.0, float(np.max(np.abs(expected))))
    np.testing.assert_allclose(
        np.asarray(actual) / scale, np.asarray(expected) / scale, atol=tolerance
    )


@pytest.mark.parametrize("variant", VARIANTS, ids=str, indirect=True)
def test_all_faces_and_formats_equal_the_network(variant):
    network, module, folder = variant
    images = images_for(network)
    expected = network(images)
    reference, hub = module(images, trainable=False), module(images, return_endpoints=True)
    assert set(reference) == set(hub) == {*expected, "embedding", "probabilities"}
    for name, value in expected.items():
        assert_close(reference[name], value, 1e-5)
        assert_close(hub[name], value, 1e-5)
    assert_close(module(images), expected["final_avg_pool"], 1e-5)
    answer, probabilities = (
        module.signatures["images"](images=tf.constant(images)),
        tf.nn.softmax(expected["logits_sup"]),
    )
    for name, value in {
        "embedding": expected["final_avg_pool"],
        "probabilities": probabilities,
    }.items():
        assert_close(answer[name], value, 1e-5)
    if not network.settings.model.se_ratio:
        return
    for run, path in (
        (formats.run_tflite, "tflite/3/{}.tflite"),
        (formats.run_onnx, "onnx/3/{}.onnx"),
    ):
        (embedding,) = run(folder / path.format("embedding"), images)
        assert_close(embedding, expected["final_avg_pool"], 1e-4)
        (classified,) = run(folder / path.format("classifier"), images)
        assert_close(classified, probabilities, 1e-4)


def test_training_mode(plain, rng):
    """Batch norm moves only when it is asked to, and every variable can be trained."""
    network, _, folder = plain
    # With variables of its own, which change.
    module = tf.saved_model.load(str(folder / "saved_model" / "3"))
    assert len(module.variables) == len(network.variables)
    assert len(module.trainable_variables) + len(module.head_variables) == len(
        network.trainable_variables
    )
    images = tf.constant(rng.random((4, 16, 16, 3)), tf.float32)

    def values():
        return [v.numpy().tobytes() for v in module.variables]

    before = values()
    for options in ({}, {"training": False}, {"trainable": False}, {"return_endpoints": True}):
        module(images, **options)
    assert values() == before
    with tf.GradientTape() as tape:
        outputs = module(images, trainable=True)
        loss = sum(tf.reduce_sum(tf.square(value)) for value in outputs.values())
    assert all(
        gradient is not None
        for gradient in tape.gradient(loss, [*module.trainable_variables, *module.head_variables])
    )
    moved = values()
    assert moved != before
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(module(images, training=True)))
    assert all(
        gradient is not None and tf.reduce_any(gradient != 0)
        for gradient in tape.gradient(loss, module.trainable_variables)
    )
    assert values() != moved


def test_variables_as_in_the_original_release(plain):
    """What programs that were written for it fine-tune, and choose by name."""
    network, module, _ = plain
    trainable = module.trainable_variables_list
    assert len(trainable) == len(network.trainable_variables)
    head = list(module.model.supervised_head.trainable_variables)
    assert [v.shape for v in head] == [v.shape for v in network.supervised_head.variables]
    assert all(any(v is other for other in trainable) for v in head)
    assert len(module.model.trainable_variables) == len(trainable)
    names = [v.name for v in module.variables]
    assert len(set(names)) == len(names) == len(network.variables)
    words = ("batch_normalization", "bias", "head_supervised")
    decayed = {v.name for v in trainable if not any(word in v.name for word in words)}
    layers = [network.encoder, network.projection_head]
    kernels = [v for layer in layers for v in layer.trainable_variables if len(v.shape) > 1]
    assert len(decayed) == len(kernels) and all(name.endswith("/kernel:0") for name in decayed)
    statistics = [name for name in names if "/moving_" in name]
    assert statistics and all("batch_normalization" in name for name in statistics)
    for v, expected in zip(module.variables, network.variables):
        np.testing.assert_array_equal(v, expected)


def test_names_of_a_whole_resnet50(monkeypatch):
    """The words of the usual filter exclude 113 of its 169 variables."""
    monkeypatch.setitem(FAMILY, 50, (FAMILY[50][0], (3, 4, 6, 3)))
    network = network_of(image_size=40, width_multiplier=0.03)
    names = network.exported_names()
    trainable = [names[v.path] for v in network.trainable_variables]
    words = ("batch_normalization", "bias", "head_supervised")
    excluded = [name for name in trainable if any(word in name for word in words)]
    assert (len(set(trainable)), len(excluded)) == (169, 113)


@pytest.mark.parametrize("train_mode, reaches", [("pretrain", False), ("finetune", True)])
def test_whether_the_classifier_teaches_the_encoder(tmp_path, train_mode, reaches, rng):
    """In pretraining it stands on the side, as in the original release."""
    network = network_of(**PLAIN, train_mode=train_mode, ft_proj_selector=1)
    module = export_of(network, tmp_path)
    images = tf.constant(rng.random((4, 16, 16, 3)), tf.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(module(images, trainable=True)["logits_sup"]))
    head = list(module.model.supervised_head.trainable_variables)
    gradients = tape.gradient(loss, [*head, *module.trainable_variables])
    is_taught = [bool(np.any(gradient.numpy())) for gradient in gradients]
    assert is_taught[: len(head)] == [True, True]
    assert any(is_taught[len(head) :]) == reaches


def test_regularization_losses(plain):
    network, module, _ = plain
    kernels = [v.numpy() for v in network.encoder.trainable_variables if v.path.endswith("kernel")]
    penalty = 0.1 * sum((kernel**2).sum() / 2 for kernel in kernels)
    losses = [float(loss()) for loss in module.regularization_losses]
    assert losses == [pytest.approx(penalty, rel=1e-4)]
    without_decay = network_of(**PLAIN, weight_decay=0.0)
    assert saved_model.regularization_losses(without_decay) == []


def test_tokens_and_embeddings_have_no_regularization_loss(presets, settings):
    options = settings(backbone=f"hub:{presets / 'dino'}", image_size=24, weight_decay=0.1)
    backbones.prepare(options, options.train.model_dir)
    encoder = make_encoder(options)
    kernels = [v.numpy() for v in encoder.trainable_variables if v.path.endswith("/kernel")]
    penalty = 0.1 * sum((kernel**2).sum() / 2 for kernel in kernels)
    network = types.SimpleNamespace(encoder=encoder, settings=options)
    (loss,) = saved_model.regularization_losses(network)
    assert float(loss()) == pytest.approx(penalty, rel=1e-4)


@pytest.mark.parametrize("variant", [VARIANTS[0], VARIANTS[2]], ids=str, indirect=True)
def test_preprocessing_is_that_of_the_evaluation(variant, rng):
    """Bit for bit, in every format, of any size."""
    network, module, _ = variant
    size = network.settings.data.image_size
    color = [
        rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        for h, w in ((8, 8), (size, size), (61, 33), (1, 90))
    ]
    files = [file_of(image, kind) for image in color for kind in ("JPEG", "PNG", "BMP", "GIF")]
    files += [file_of(color[2][..., 0], kind) for kind in ("JPEG", "PNG", "BMP", "GIF")]  # grey
    files += [file_of(np.dstack([color[2], color[2][..., :1]]))]  # with alpha
    preprocessed = module.signatures["preprocess"](image_bytes=tf.constant(files))["images"]
    source = Indexed(
        "files",
        "test",
        ("a",),
        EncodedImage,
        np.array(files, object),
        np.zeros(len(files), np.int64),
    )
    batch = next(
        iter(
            pipeline.evaluation_batches(
                source,
                Objective(config.build({"image_size": size}), 0).eval_example,
                len(files),
                tf.distribute.get_strategy(),
            )
        )
    )
    np.testing.assert_array_equal(preprocessed, batch["image"])
    pixels = np.stack([color[2]] * 2)
    answer = module.signatures["images_uint8"](images=tf.constant(pixels))
    again = module.signatures["images"](images=np.stack([batch["image"][9]] * 2))
    for name in answer:
        np.testing.assert_array_equal(answer[name], again[name])


def test_kernels_beyond_the_limit_are_read(monkeypatch, log):
    network = network_of(**PLAIN)
    num_read = []
    for limit in (1000, saved_model.MAX_CONSTANTS):
        monkeypatch.setattr(saved_model, "MAX_CONSTANTS", limit)
        num_read.append(len(saved_model._inference_function(network).captured_inputs))
    stem_kernels = len(network.encoder.stem.convs)  # their output is an endpoint, too
    assert num_read[0] - num_read[1] == len(network.encoder.variables) - stem_kernels
    assert "the signatures read the variables" in log.text


def test_large_images_are_decoded_one_by_one(digits, rng):
    """Together they have more pixels than one may have; the answer is the same."""
    module = digits[1]
    sizes = [(180, 200), (190, 180), (8, 8)]
    assert sum(h * w for h, w in sizes) > MAX_PIXELS
    files = [file_of(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in sizes]
    preprocess = module.signatures["preprocess"]
    together = preprocess(image_bytes=tf.constant(files))["images"]
    for image, file in zip(together, files):
        alone = preprocess(image_bytes=tf.constant([file]))["images"]
        np.testing.assert_array_equal(image, alone[0])


def test_a_request_has_an_end(digits, rng):
    """Images of a few bytes become as large as others."""
    network, module, *_ = digits
    most = MAX_PIXELS // network.settings.data.image_size**2
    file = file_of(rng.integers(0, 256, (1, 1, 3), dtype=np.uint8))
    preprocess = module.signatures["preprocess"]
    assert len(preprocess(image_bytes=tf.constant([file] * most))["images"]) == most
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"takes at most {most} images"):
        preprocess(image_bytes=tf.constant([file] * (most + 1)))


def test_answers_of_serving(digits, rng):
    network, module, _, images, _ = digits
    files = [file_of(np.round(images[i] * 255).astype(np.uint8)) for i in range(6)]
    answer = module.signatures["serving_default"](image_bytes=tf.constant(files))
    probabilities = answer["probabilities"].numpy()
    pixels = np.stack([decoding.decode(tf.constant(file)) for file in files]) * np.float32(1 / 255)
    assert_close(probabilities, network.predictions(pixels)["probabilities"], 1e-5)
    order = np.argsort(-probabilities, 1)[:, : saved_model.MAX_CLASSES]
    assert [[name.decode() for name in row] for row in answer["classes"].numpy()] == [
        [NAMES[i] for i in row] for row in order
    ]
    np.testing.assert_array_equal(answer["scores"], np.take_along_axis(probabilities, order, 1))
    np.testing.assert_array_equal(
        answer["embedding"], module.signatures["embed"](image_bytes=tf.constant(files))["embedding"]
    )
    single = module.signatures["serving_default"](image_bytes=tf.constant(files[:1]))
    for name in ("probabilities", "embedding"):
        assert_close(single[name], answer[name][:1], 1e-5)
        assert module.signatures["serving_default"](image_bytes=tf.constant([], tf.string))[
            name
        ].shape == [0, *answer[name].shape[1:]]


def test_without_classes(tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(formats.logging, "info", lambda *text: messages.append(text[0] % text[1:]))
    module = export_of(
        network_of(0, **PLAIN),
        tmp_path,
        names=(),
        export_formats=("tflite",),
    )
    answer = module.signatures["serving_default"](
        image_bytes=tf.constant([file_of(np.zeros((9, 9, 3), np.uint8))])
    )
    assert list(answer) == ["embedding"]
    assert "logits_sup" not in module(np.zeros((1, 16, 16, 3), np.float32), trainable=False)
    assert sorted(path.name for path in (tmp_path / "tflite" / "3").iterdir()) == [
        "embedding.tflite",
        "embedding_int8.tflite",
    ]
    # Without data there are photographs of scikit-learn, from which no range is learned.
    start = "embedding_static_int8.tflite is left out: the ranges of its 8 bits"
    assert any(message.startswith(start) for message in messages)
    assert not (tmp_path / "saved_model" / "3" / "assets" / "class_names.txt").exists()


def test_exact_formats_give_the_same(digits):
    network, _, folder, images, _ = digits
    expected = network.predictions(images)
    for run, path in (
        (formats.run_tflite, "tflite/3/{}.tflite"),
        (formats.run_onnx, "onnx/3/{}.onnx"),
        (formats.run_keras, "keras/3/{}.keras"),
    ):
        (embedding,) = run(folder / path.format("embedding"), images)
        assert_close(embedding, expected["embedding"], 1e-4)
        probabilities, *_ = run(folder / path.format("classifier"), images)
        assert_close(probabilities, expected["probabilities"], 1e-4)


def test_converters_of_users(plain, tmp_path, monkeypatch):
    """TFLite's converter and the command of tf2onnx, given the SavedModel alone."""
    network, _, folder = plain
    images = images_for(network)
    expected = network.predictions(images)
    path = str(folder / "saved_model" / "3")
    converter = tf.lite.TFLiteConverter.from_saved_model(path, signature_keys=["images"])
    (tmp_path / "images.tflite").write_bytes(converter.convert())
    interpreter = Interpreter(str(tmp_path / "images.tflite"))
    answer = interpreter.get_signature_runner("images")(images=images)

    onnx_file = tmp_path / "images.onnx"
    command = ["tf2onnx.convert", "--saved-model", path, "--signature_def", "images"]
    monkeypatch.setattr(sys, "argv", [*command, "--output", str(onnx_file)])
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")  # it changes that, and so all processes to come
    tf2onnx.convert.main()
    session = onnxruntime.InferenceSession(onnx_file)
    names = [output.name for output in session.get_outputs()]
    onnx_answer = dict(zip(names, session.run(None, {"images": images})))
    for outputs in (answer, onnx_answer):
        assert_close(outputs["embedding"], expected["embedding"], 1e-4)
        assert_close(outputs["probabilities"], expected["probabilities"], 1e-4)
        assert len(outputs["classes"]) == len(images)


def test_calibrated_outputs_are_the_formula(digits):
    """Of NumPy, in the SavedModel and in both formats; what was there before stays as it is."""
    network, module, folder, images, _ = digits
    saved = run_calibration.read(epath.Path(folder / "saved_model" / "3" / "assets"))
    outputs = network.predictions(images)
    logits, embedding = outputs["logits_sup"].numpy(), outputs["embedding"].numpy()
    expected = {
        "calibrated_probabilities": scipy.special.softmax(logits / saved.temperature, axis=1),
        "novelty": saved.novelty(embedding),
    }
    confidence = expected["calibrated_probabilities"].max(1)
    expected["unsure"] = confidence < saved.threshold
    assert 0.05 < expected["unsure"].mean() < 0.95 and np.ptp(expected["novelty"]) > 0.5
    answer = module.signatures["images"](images=images)
    assert set(answer) == {"probabilities", "classes", "scores", "embedding", *expected}
    files = [answer[name].numpy() for name in expected]
    assert_close(answer["probabilities"], outputs["probabilities"], 1e-5)
    _, *tflite = formats.run_tflite(folder / "tflite" / "3" / "classifier.tflite", images)
    _, *onnx = formats.run_onnx(folder / "onnx" / "3" / "classifier.onnx", images)
    is_at_threshold = np.abs(confidence - saved.threshold) < 1e-4
    for probabilities, novelty, unsure in (files, tflite, onnx):
        assert_close(probabilities, expected["calibrated_probabilities"], 1e-4)
        assert_close(novelty, expected["novelty"], 1e-2)
        np.testing.assert_array_equal(
            unsure[~is_at_threshold], expected["unsure"][~is_at_threshold]
        )
    session = onnxruntime.InferenceSession(folder / "onnx" / "3" / "classifier.onnx")
    names = [output.name for output in session.get_outputs()]
    assert names == ["probabilities", *expected]
    model = tf_simclr.load(folder / "saved_model" / "3")
    classified = model.classify(images[:40])
    assert [answer.unsure for answer in classified] == expected["unsure"][:40].tolist()
    np.testing.assert_allclose(
        [answer.probability for answer in classified], confidence[:40], rtol=1e-4
    )
    novelty = [answer.novelty for answer in classified]
    np.testing.assert_allclose(novelty, expected["novelty"][:40], atol=1e-2)
    assert model.calibration.fingerprint == saved.fingerprint


def test_other_calibrated_outputs_are_refused(digits, monkeypatch, tmp_path):
    """A file whose further outputs differ is not kept."""
    network, _, folder, images, _ = digits
    saved = run_calibration.read(epath.Path(folder / "saved_model" / "3" / "assets"))
    other = dataclasses.replace(saved, temperature=2 * saved.temperature)
    answer = formats.saved_model_outputs(folder / "saved_model" / "3", images[:8])
    arguments = ("tflite", network, images[:8], answer, epath.Path(tmp_path))
    with pytest.raises(Failed, match="differs from the SavedModel by"):
        formats.write(*arguments, are_typical=False, calibration=other)


def test_int8_gives_the_same_classes(digits):
    network, _, folder, images, labels = digits
    expected = network.predictions(images)["probabilities"].numpy().argmax(1)
    path = folder / "tflite" / "3" / "classifier_int8.tflite"
    predicted = formats.run_tflite(path, images)[0].argmax(1)
    assert np.mean(expected == labels) > 0.8  # it means something
    assert np.mean(predicted == expected) >= 0.95
    sizes = {path.name: path.stat().st_size for path in (folder / "tflite" / "3").iterdir()}
    assert sizes["embedding_int8.tflite"] < 0.5 * sizes["embedding.tflite"]


def test_static_int8_gives_the_same_features(digits):
    """Of a network that tells digits apart by small differences: the classes say less."""
    network, _, folder, images, _ = digits
    expected = network.predictions(images)["embedding"].numpy()
    folder = folder / "tflite" / "3"
    (features,) = formats.run_tflite(folder / "embedding_static_int8.tflite", images)
    assert np.corrcoef(features.ravel(), expected.ravel())[0, 1] > 0.99
    operations = interpreted(folder / "embedding_static_int8.tflite")
    assert sum(dtype == np.int8 for dtype in operations) > 0.5 * len(operations)
    (probabilities,) = formats.run_tflite(folder / "classifier_static_int8.tflite", images)
    assert_close(probabilities.sum(1), np.ones(len(images)), 0.1)


def interpreted(path):
    """The types of the tensors of a TFLite file."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    return [details["dtype"] for details in interpreter.get_tensor_details()]


def header_of(kind, width, height):
    """A good image whose header says that it is of another size."""
    content = bytearray(file_of(np.zeros((20, 30, 3), np.uint8), kind))
    if kind == "PNG":
        content[16:24] = struct.pack(">II", width, height)
    elif kind == "BMP":
        content[18:26] = struct.pack("<ii", width, -height)
    elif kind == "JPEG":
        at = content.index(b"\xff\xc0")
        content[at + 5 : at + 9] = struct.pack(">HH", height, width)
    elif kind == "GIF":
        content[6:10] = struct.pack("<HH", width, height)
    return bytes(content)


def chunk_before(png):
    """A PNG with another chunk before its header: libpng skips it, so it could hide a size."""
    return (
        png[:8]
        + struct.pack(">I", 16)
        + b"abCd"
        + struct.pack(">II", 1, 1) * 2
        + bytes(4)
        + png[8:]
    )


def animation(sizes):
    """A GIF whose last frames claim another size than the first."""
    frames = [Image.fromarray(np.full((20, 30, 3), 40 * i, np.uint8)) for i in range(len(sizes))]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    content, at = bytearray(file.getvalue()), 0
    for width, height in sizes:
        at = content.index(b"\x2c\0\0\0\0\x1e\0\x14\0", at)
        content[at + 5 : at + 9] = struct.pack("<HH", width, height)
        at += 9
    return bytes(content)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "not an image that can be read"),
        (b"hello", "JPEG, PNG, BMP, GIF and WebP are accepted"),
        (b"\xff\xd8\xff", "Invalid JPEG"),
        (b"\x89PNG\r\n\x1a\n", "not an image that can be read"),
        (decoding.PNG_SIGNATURE, "too many pixels, or none"),
        (b"GIF89a", "too many pixels, or none"),
        (b"BM", "too many pixels, or none"),
        *(
            (header_of(kind, 30000, 30000), r"at most 65536 are accepted, got\] \[900000000\]")
            for kind in ("PNG", "BMP", "JPEG", "GIF")
        ),
        (header_of("BMP", 2**31 - 1, 2**31 - 1), "too many pixels"),
        (header_of("PNG", 2**32 - 1, 2**32 - 1), "too many pixels"),
        (animation([(30000, 30000)]), r"at most 65536 .*900000000"),
        (chunk_before(header_of("PNG", 300, 300)), "not an image that can be read"),
        (b"GIF89a\1\0\1\0\0\0\0" + b"!\xfe\0" * 2 * MAX_BLOCKS, "too many pixels, or none"),
        (b"GIF89a\1\0\1\0\0\0\0!\xfe" + b"\1a" * 2 * MAX_BLOCKS, "too many pixels, or none"),
        *(
            (file_of(np.zeros((99, 99, 3), np.uint8), kind)[:-60], "Invalid|size")
            for kind in ("PNG", "JPEG", "BMP")
        ),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value[:20],
)
def test_broken_and_hostile_images(digits, content, message):
    _, module, _, images, _ = digits
    serve, good = (
        module.signatures["serving_default"],
        file_of(np.round(images[0] * 255).astype(np.uint8)),
    )
    expected = serve(image_bytes=tf.constant([good]))["probabilities"]
    for request in ([content], [good, content, good]):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            serve(image_bytes=tf.constant(request))
    np.testing.assert_array_equal(serve(image_bytes=tf.constant([good]))["probabilities"], expected)


def test_a_palette_is_refused_and_later_frames_are_not_read(digits):
    serve = digits[1].signatures["preprocess"]
    file = io.BytesIO()
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).convert("P").save(
        file, "BMP"
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="color palette"):
        serve(image_bytes=tf.constant([file.getvalue()]))
    first = animation([(30, 20)])
    hidden = first.replace(
        b"\x2c", b"!\xfe\0\x2c", 1
    )  # giflib takes what follows an empty extension for a part of it
    for later in (
        animation([(30, 20), (60000, 60000)]),
        animation([(30, 20), (30, 20), (30, 20)])[:-20],
        hidden,
    ):
        np.testing.assert_array_equal(
            serve(image_bytes=tf.constant([later]))["images"],
            serve(image_bytes=tf.constant([first]))["images"],
        )


def test_files(digits):
    folder = digits[2]
    assets = folder / "saved_model" / "3" / "assets"
    assert (assets / "class_names.txt").read_text().splitlines() == list(NAMES)
    assert json.loads((assets / "flags.json").read_text())["width_multiplier"] == 0.25
    text = (assets / "model_card.md").read_text()
    for part in (
        "ResNet-18 0.25x",
        "digits, split train: 9 images, 8 of them",
        "On digits, split validation.",
        "| classifier, top 1 |      50.0% |                 – |          – |",
        "hub.KerasLayer",
        "TFSMLayer",
        "tensorflow_model_server",
        "saved_model_cli",
        "tf.saved_model.load",
        "serving_default",
        '"resnet_depth": 18',
        "Calibrated on 360 labels, split test",
        "`unsure` bool [B]",
        "unlike anything that was seen",
    ):
        assert part in text, part
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {
        "onnx/3/classifier.onnx",
        "onnx/3/embedding.onnx",
        "keras/3/classifier.keras",
        "keras/3/embedding.keras",
        "tflite/3/classifier.tflite",
        "tflite/3/classifier_int8.tflite",
    } <= files
    assert not [file for file in files if "partial" in file]


def test_the_card_tells_no_paths(settings):
    about = model_card.ModelDescription(
        settings(
            dataset="folder:/home/somebody/photos",
            data_dir="/home/somebody/tfds",
            unlabeled_dataset="folder:/home/somebody/more",
            checkpoint="/home/somebody/run",
        ),
        NAMES,
        1,
        {},
        {"images": 1, "labels": 0},
    )
    assert "photos" in model_card.markdown(about)
    assert (
        "somebody" not in model_card.markdown(about) + model_card.asset_files(about)["flags.json"]
    )


def test_only_the_newest_exports_stay(tmp_path, settings, monkeypatch):
    monkeypatch.setattr(saved_model, "write", lambda *arguments: None)

    def export_step(step, **flags):
        options = settings(**flags)
        description = model_card.ModelDescription(options, NAMES, step, {}, {})
        exporter.export(None, description, epath.Path(tmp_path), options=options.export)
        return sorted(path.name for path in (tmp_path / "saved_model").iterdir())

    (tmp_path / "saved_model" / "notes").mkdir(parents=True)
    assert export_step(9) == ["9", "notes"]
    assert export_step(10) == ["10", "notes"]
    assert export_step(10) == ["10", "notes"]
    assert export_step(11, keep_hub_module_max=0) == ["10", "11", "notes"]
    # What was just written stays, and so do later steps, which another process may have exported:
    assert export_step(2, keep_hub_module_max=2) == ["10", "11", "2", "notes"]
    assert export_step(3, keep_hub_module_max=9) == ["10", "11", "2", "3", "notes"]
    # Of processes that were killed, and of one that writes just now:
    for name, age in (("partial-3-1", 7200), ("partial-replaced-3-1", 7200), ("partial-2-2", 60)):
        (tmp_path / "saved_model" / name).mkdir()
        os.utime(tmp_path / "saved_model" / name, (time.time() - age,) * 2)
    kept = ["10", "11", "2", "3", "notes", "partial-2-2"]
    assert export_step(3, keep_hub_module_max=9) == kept
    assert export_step(4, keep_hub_module_max=2) == ["10", "11", "4", "notes", "partial-2-2"]
    (tmp_path / "file").write_text("in the way")
    description = model_card.ModelDescription(settings(), NAMES, 4, {}, {})
    message = r"file/saved_model/4: it can't be written \(.*Not a directory"
    with pytest.raises(UserError, match=message):
        directory = epath.Path(tmp_path / "file")
        exporter.export(None, description, directory, options=settings().export)


def test_export_that_differs_is_not_kept(tmp_path, monkeypatch):
    network = network_of(**PLAIN)
    (tmp_path / "tflite" / "3").mkdir(parents=True)
    (tmp_path / "tflite" / "3" / "classifier.tflite").write_bytes(b"an older one")
    zeros = lambda path, images: [np.zeros((len(images), 10))]
    wrong = formats.Format(files={".tflite": formats.FileKind(formats.write_tflite, zeros)})
    monkeypatch.setitem(formats.FORMATS, "tflite", wrong)
    message = r"it differs from the SavedModel by .*, more than 0.0001; it is not kept"
    with pytest.raises(Failed, match=message):
        export_of(network, tmp_path, export_formats=("tflite",))
    assert [path.name for path in (tmp_path / "tflite").iterdir()] == ["3"]
    assert (tmp_path / "tflite" / "3" / "classifier.tflite").read_bytes() == b"an older one"


def test_a_converter_that_fails(plain, tmp_path, monkeypatch):
    def fail(exported, path):
        raise RuntimeError("too large\nby far")

    failing = formats.Format(files={".onnx": formats.FileKind(fail, None)})
    monkeypatch.setitem(formats.FORMATS, "onnx", failing)
    network, _, _ = plain
    with pytest.raises(
        Failed,
        match=r"classifier.onnx: the network can't be converted to onnx \(too large\); "
        "the SavedModel is written",
    ):
        images = np.zeros((1, 16, 16, 3), np.float32)
        expected = {name: value.numpy() for name, value in network.predictions(images).items()}
        formats.write("onnx", network, images, expected, tmp_path, are_typical=True)


def test_a_converter_that_is_missing(monkeypatch, settings):
    find = formats.importlib.util.find_spec
    monkeypatch.setattr(
        formats.importlib.util, "find_spec", lambda name: None if name == "tf2onnx" else find(name)
    )
    formats.require(("saved_model", "tflite"))
    with pytest.raises(
        UserError,
        match="--export_formats=tflite,onnx: tf2onnx not installed, which onnx needs; "
        "pip install tf2onnx",
    ):
        formats.require(("tflite", "onnx"))
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(UserError, match="which tflite needs; pip install ai_edge_litert"):
        formats.require(("tflite",))
    with pytest.raises(
        UserError, match="tf2onnx not installed"
    ):  # before the training, not after it
        build_experiment(settings(mode="train_then_eval", export_formats="onnx"))


def test_formats_are_the_choices():
    assert tuple(formats.FORMATS) == config.fields()["export_formats"].choices


@pytest.mark.parametrize(
    "flags",
    [
        {"precision": "bfloat16"},
        {"memory_size": 8},
        {"train_mode": "finetune", "ft_proj_selector": 1, "fine_tune_after_block": 1},
    ],
    ids=str,
)
def test_copy_of_what_is_trained(settings, flags, rng):
    """In float32, all of it trainable, without what only the training needs."""
    options = settings(**flags)
    keras.config.set_dtype_policy(DTYPE_POLICIES[options.model.precision])
    objective = objective_class(options)(options, 10)
    objective.build_variables()
    network = pretrained.float32_copy(objective)
    trained = [v for layer in objective.exported_layers() for v in layer.variables]
    for v, expected in zip(network.variables, trained, strict=True):
        assert v.path == expected.path
        np.testing.assert_array_equal(v, expected)
        assert v.trainable or "moving" in v.path
    assert network.encoder.compute_dtype == "float32"
    images = tf.constant(rng.random((2, 16, 16, 3)), tf.float32)
    features = tf.cast(objective(images)["final_avg_pool"], tf.float32)
    tolerance = 2e-2 if "precision" in flags else 1e-5
    assert_close(network(images)["final_avg_pool"], features, tolerance)


def test_sample_images():
    images = exporter.sample_images(40)
    assert (
        images.shape == (exporter.NUM_IMAGES, 40, 40, 3)
        and 0 <= images.min() < 0.2 < 0.8 < images.max() <= 1
    )
