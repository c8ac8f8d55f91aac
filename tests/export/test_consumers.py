"""Exports as their users load them: in clean processes, without this package."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from etils import epath

from tests.helpers.consumers import a_file, digits
from tests.helpers.processes import GROUPS
from tests.helpers.waiting import SECONDS
from tf_simclr import config
from tf_simclr.data import augment, decoding
from tf_simclr.export import exporter, model_card
from tf_simclr.models import resnet
from tf_simclr.models.network import Network

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "helpers"
# A Python with tensorflow-cpu 2.15.1, tensorflow-hub, tensorflow-addons, scikit-learn and pillow;
# .ci/run makes one.
OLD_PYTHON = "TF_2_15_PYTHON"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(network, path of its SavedModel)."""
    keras.utils.set_random_seed(0)
    settings = config.build(
        {"resnet_depth": 18, "image_size": 16, "width_multiplier": 0.125, "proj_out_dim": 8}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.FAMILY, 18, (resnet.FAMILY[18][0], GROUPS))
        network = Network(settings, 10)
    network.build_variables()
    folder = tmp_path_factory.mktemp("run")
    description = model_card.ModelDescription(settings, tuple("abcdefghij"), 7, {}, {})
    exporter.export(network, description, epath.Path(folder), options=settings.export)
    return network, str(folder / "saved_model" / "7")


def start(names, path, python=sys.executable):
    command = [python, "-I", str(FOLDER / "consumers.py"), names, path]
    return subprocess.Popen(
        command,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def answers_of(exported):
    """A function: name of a consumer -> its answers. One process for TensorFlow and Keras 2."""
    started = [start("mutated,plain,cli,keras3,hub", exported[1])]
    if OLD_PYTHON in os.environ:
        started.append(start("old", exported[1], os.environ[OLD_PYTHON]))
    try:
        ended = [process.communicate(timeout=SECONDS) for process in started]
    finally:
        for process in started:
            process.kill()
    results = {
        name: content
        for out, _ in ended
        for line in out.splitlines()
        if line.startswith("{")
        for name, content in json.loads(line).items()
    }

    def look_up(name):
        assert name in results, "\n".join(stderr[-3000:] for _, stderr in ended)
        return results[name]

    return look_up


def assert_outputs(answers, network, tolerance):
    images, _ = digits(8, 16)
    expected = network.predictions(tf.constant(images, tf.float32))
    assert answers["names"] == sorted(expected)
    for name, values in answers["outputs"].items():
        np.testing.assert_allclose(values, expected[name], rtol=tolerance, atol=tolerance)
    trainable = len(network.trainable_variables)
    assert answers["without_gradient"] == 0 and answers["trained"] == trainable
    statistics = len(network.variables) - trainable  # of batch norm
    assert answers["moved"] == statistics
    assert answers["signatures"] == [
        "embed",
        "images",
        "images_uint8",
        "preprocess",
        "serving_default",
    ]


def assert_fine_tuned(answers, network):
    """Training all beats training what was put on top; frozen statistics stay."""
    frozen, trained = answers["trainable_False"], answers["trainable_True"]
    assert frozen["moved"] == 0 == frozen["trainable_variables"]
    assert (
        trained["trainable_variables"] == len(network.encoder.trainable_variables)
        and trained["losses"] == 1
    )  # the weight decay
    heads = len(network.trainable_variables) - len(network.encoder.trainable_variables)
    assert trained["moved"] == len(network.variables) - heads  # all but the weights of the heads
    assert trained["accuracy"] > frozen["accuracy"] and trained["loss"] < frozen["loss"]


def test_plain_tensorflow(exported, answers_of):
    assert_outputs(answers_of("plain"), exported[0], 1e-5)


def test_hub_in_keras_2(exported, answers_of):
    assert_fine_tuned(answers_of("hub"), exported[0])


def test_layer_in_keras_3(exported, answers_of):
    layer = answers_of("keras3")
    assert layer["keras"].startswith("3.") and layer["shape"] == [4, 3]
    np.testing.assert_allclose(
        layer["probabilities"],
        exported[0].predictions(tf.constant(digits(4, 16)[0], tf.float32))["probabilities"],
        rtol=1e-5,
        atol=1e-5,
    )


def test_saved_model_cli(exported, answers_of):
    answers = answers_of("cli")
    for name in ("image_bytes", "probabilities", "classes", "scores", "embedding", "DT_STRING"):
        assert name in answers["printed"]
    image = augment.eval_image(decoding.decode(a_file()), 16)
    expected = exported[0](image[None])["final_avg_pool"]
    np.testing.assert_allclose(
        answers["embedding"], np.repeat(expected, 2, 0), rtol=1e-5, atol=1e-5
    )
    assert answers["classes"] == [2, 5]


def test_mutated_images(answers_of):
    mutated = answers_of("mutated")
    assert (
        mutated["requests"] == 350
        and mutated["answered"] + mutated["refused"] == 350
        and mutated["wrong"] == 0
    )
    assert mutated["answered"] > 30 and mutated["refused"] > 100
    assert mutated["megabytes"] < 1024


@pytest.mark.skipif(
    OLD_PYTHON not in os.environ, reason=f"{OLD_PYTHON} names no Python with TensorFlow 2.15"
)
def test_tensorflow_2_15_with_addons(exported, answers_of):
    network, old = exported[0], answers_of("old")
    assert old["version"].startswith("2.15")
    answer = network.predictions(augment.eval_image(decoding.decode(a_file()), 16)[None])
    for name in ("probabilities", "embedding"):
        np.testing.assert_allclose(old["answer"][name], answer[name], rtol=1e-4, atol=1e-4)
    assert_outputs(old, network, 1e-4)
    assert_fine_tuned(old, network)
