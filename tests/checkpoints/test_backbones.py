"""Where published backbones come from: presets, folders, files, and the run itself."""

import importlib.util
import json
import shutil
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from etils import epath

from tests.helpers import presets as helper
from tf_simclr.checkpoints import backbones, published_sources
from tf_simclr.errors import UserError
from tf_simclr.models import architecture as architectures
from tf_simclr.models.architecture import Architecture
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.training.experiment import build_experiment


@pytest.fixture
def without_package(monkeypatch):
    """An environment without keras-hub."""
    find = importlib.util.find_spec
    without = lambda name, *others: None if name == "keras_hub" else find(name, *others)
    monkeypatch.setattr(importlib.util, "find_spec", without)
    monkeypatch.setitem(sys.modules, "keras_hub", None)


@pytest.mark.parametrize(
    "flags",
    [
        {"backbone": "hub:dinov2_small"},
        {"baselines": "untrained,hub:dinov2_small", "mode": "train_then_eval"},
    ],
)
def test_without_the_extra(settings, without_package, monkeypatch, flags):
    """One line, before any data are loaded."""
    monkeypatch.setattr("tf_simclr.training.experiment.load_training_data", None)
    flag = "backbone" if "backbone" in flags else "baselines"
    message = f"^--{flag}=hub:dinov2_small: keras-hub is not installed, .*; pip install keras-hub$"
    with pytest.raises(UserError, match=message):
        build_experiment(settings(**flags))


def test_without_the_extra_all_else_goes_on(settings, presets, without_package):
    """Networks of this package, and files of plain Keras layers."""
    build_experiment(settings(mode="train_then_eval", eval_steps=1))
    options = settings(backbone=f"hub:{presets / 'encoder.keras'}")
    experiment = build_experiment(options)
    assert experiment.objective.encoder.feature_dim == 6


def test_a_wrapped_backbone_needs_the_extra(without_package, settings, tmp_path):
    """Of a file that has layers of keras-hub inside."""
    config = {"module": "keras", "config": {"layers": [{"module": "keras_hub.src.models.vit"}]}}
    with zipfile.ZipFile(tmp_path / "wrapped.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    options = settings(backbone=f"hub:{tmp_path / 'wrapped.keras'}")
    with pytest.raises(UserError, match="keras-hub is not installed"):
        backbones.require(options, epath.Path(tmp_path / "run"))


def test_the_exit_status(main, without_package, tmp_path):
    status, stderr = main("--dataset=digits", "--backbone=hub:x", f"--model_dir={tmp_path / 'run'}")
    assert status == 2
    assert stderr.splitlines()[-1].endswith("pip install keras-hub")
    assert not (tmp_path / "run").exists()


def test_the_run_knows_the_architecture(presets, settings, tmp_path):
    """After its first start it needs no preset."""
    preset = shutil.copytree(presets / "dino", tmp_path / "preset")
    options = settings(backbone=f"hub:{preset}", image_size=24)
    backbones.prepare(options, epath.Path(tmp_path / "empty"))
    architecture = architectures.of(options.model.backbone)
    np.testing.assert_allclose(architecture.scale, [1 / std for std in helper.STD], rtol=1e-6)
    directory = RunDirectory(tmp_path / "run", options)
    directory.create()
    backbones.write(directory, options.model)
    shutil.rmtree(preset)
    architectures._known.clear()
    backbones.require(options, directory.path)
    backbones.prepare(options, directory.path)
    assert architectures.of(options.model.backbone) == architecture
    assert architecture.license == helper.LICENSE
    # A stage that starts from it, in another directory.
    architectures._known.clear()
    backbones.prepare(options.replace(checkpoint=str(directory.path)), epath.Path(tmp_path / "b"))
    assert architectures.of(options.model.backbone) == architecture


def test_licenses(presets):
    assert published_sources._license(str(presets / "resnet")) == "apache-2.0"
    assert published_sources._license(str(presets / "vit")) == ""


def test_two_networks_of_one_name(presets):
    first = published_sources.architecture_of("backbone", f"hub:{presets / 'vit'}")
    architectures.remember("hub:same", first)
    architectures.remember("hub:same", Architecture.from_json(first.as_json()))
    with pytest.raises(UserError, match="two runs have different networks of that name"):
        architectures.remember("hub:same", first.with_input("bytes"))


def test_a_damaged_architecture(settings, tmp_path):
    (tmp_path / "backbone.json").write_text('{"name": "x"}')
    with pytest.raises(UserError, match=r"backbone.json: it is not the architecture of a backbone"):
        backbones.prepare(settings(backbone="hub:damaged"), epath.Path(tmp_path))


@pytest.mark.parametrize(
    ("name", "image_size", "expected"),
    [("dino", 16, 24), ("dino", 30, 28), ("vit", 20, 16), ("encoder.keras", 32, 16)],
)
def test_a_baseline_sees_images_of_a_size_that_it_knows(presets, name, image_size, expected):
    strategy = tf.distribute.get_strategy()
    network = backbones.load_frozen(f"hub:{presets / name}", image_size, strategy)
    assert network.encoder.image_size == expected
    images = tf.random.stateless_uniform([2, image_size, image_size, 3], [1, 2])
    features = network.layer_features(images)["final_avg_pool"]
    assert features.shape == (2, network.encoder.feature_dim)
    assert np.ptp(features, axis=0).max() > 0


def test_a_file_that_is_none(settings, tmp_path):
    (tmp_path / "text.keras").write_text("no archive")
    options = settings(backbone=f"hub:{tmp_path / 'text.keras'}")
    with pytest.raises(UserError, match="it can't be read as a file of Keras"):
        backbones.require(options, epath.Path(tmp_path / "run"))


def test_a_file_that_draws_random_numbers(settings, tmp_path):
    """What no checkpoint could go on with."""
    model = keras.Sequential(
        [keras.Input((16, 16, 3)), keras.layers.RandomFlip(), keras.layers.Conv2D(2, 3)]
    )
    model.save(tmp_path / "random.keras")
    options = settings(backbone=f"hub:{tmp_path / 'random.keras'}")
    with pytest.raises(UserError, match="random draws random numbers of its own"):
        build_experiment(options)
