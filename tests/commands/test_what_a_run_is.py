"""Image size, preprocessing, stem and head come from the run, on other data and of old runs too."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from absl import flags as absl_flags
from PIL import Image

import run
import tf_simclr
from tests.helpers.eager import eagerly
from tests.helpers.processes import HERE, the_message
from tf_simclr.data import augment
from tf_simclr.models import resnet

pytestmark = pytest.mark.usefixtures("shallow", "eager")
SIZE = 40
NETWORK = [
    f"--image_size={SIZE}",
    "--resnet_depth=18",
    "--width_multiplier=0.07",
    "--proj_out_dim=8",
    "--use_blur=False",
    "--color_jitter_strength=0",
    "--warmup_epochs=0",
]
EVALUATION = [
    "--evaluations=knn,classifier",
    "--untrained_baseline=False",
    "--eval_batch_size=8",
    "--knn_k=1",
]
TRAINING = ["--train_batch_size=4", "--train_steps=1", *NETWORK, *HERE]


def write_photos(folder, class_names, seed=0):
    """Four photos of a class in each of two splits."""
    rng = np.random.default_rng(seed)
    for split in ("train", "val"):
        for name in class_names:
            (folder / split / name).mkdir(parents=True)
            for number in range(4):
                image = rng.integers(0, 256, (60, 100, 3), dtype=np.uint8)
                Image.fromarray(image).save(folder / split / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"), ("bus", "car"))


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Photos of other classes."""
    return write_photos(tmp_path_factory.mktemp("others"), ("ant", "bee", "fly"), seed=1)


def data(folder):
    return [f"--dataset=folder:{folder}"]


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory):
    """A run that is padded in evaluation, which is what nothing does by itself."""
    run_directory = tmp_path_factory.mktemp("finished") / "run"
    arguments = [*data(photos), *TRAINING, "--eval_crop=pad", f"--model_dir={run_directory}"]
    with eagerly(), pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.FAMILY, 18, (resnet.FAMILY[18][0], (1,)))
        patch.setattr(absl_flags, "FLAGS", absl_flags.FlagValues())
        assert run.main(["run.py", *arguments]) == 0
    return run_directory


@pytest.fixture
def trained(finished, tmp_path):
    """A copy of the run for each test."""
    return shutil.copytree(finished, tmp_path / "trained")


@pytest.fixture
def old(trained):
    """The run as it would have been saved before there were the flags of preprocessing."""
    forget_newer_flags(trained)
    return trained


def forget_newer_flags(folder):
    flags = flags_of(folder)
    for name in ("eval_crop", "resizing", "stem"):
        del flags[name]
    (folder / "flags.json").write_text(json.dumps(flags))


def flags_of(run):
    return json.loads((run / "flags.json").read_text())


def exported_pixels(run, path):
    (export,) = (run / "saved_model").iterdir()
    preprocess = tf.saved_model.load(str(export)).signatures["preprocess"]
    return preprocess(image_bytes=tf.constant([path.read_bytes()]))["images"].numpy()[0]


@pytest.mark.usefixtures("without_page")
def test_a_run_that_is_older_than_the_flags(old, photos, main):
    """It resumes, evaluates, embeds, exports and loads with the pixels it was trained with."""
    path = photos / "val" / "bus" / "0.png"
    image = tf.constant(np.asarray(Image.open(path)))
    pixels = augment.eval_image(image, SIZE, "centre", "original").numpy()
    status, stderr = main(*data(photos), *TRAINING, f"--model_dir={old}")
    assert status == 0, stderr
    # What is not given comes from the run, also where its data are named.
    quick = [*EVALUATION, "--evaluations=knn"]
    status, stderr = main("--mode=eval", f"--model_dir={old}", *data(photos), *quick, *HERE)
    assert status == 0, stderr
    assert (flags_of(old)["eval_crop"], flags_of(old)["resizing"]) == ("centre", "original")
    forget_newer_flags(old)
    status, stderr = main("--mode=embed", f"--model_dir={old}", *HERE)
    assert status == 0, stderr
    with np.load(old / "embeddings.npz") as columns:
        position = list(columns["name"]).index("val/bus/0.png")
        embedded = columns["embedding"][position]
    np.testing.assert_array_equal(exported_pixels(old, path), pixels)
    (export,) = (old / "saved_model").iterdir()
    forget_newer_flags(export / "assets")
    for weights in (old, export):
        model = tf_simclr.load(weights)
        np.testing.assert_allclose(model.embed(str(path))[0], embedded, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(model.embed(pixels[None])[0], embedded, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("without_outputs")
def test_other_data_and_other_classes(trained, others, tmp_path, main):
    """At the run's size, and without the head for other classes."""
    status, stderr = main(
        "--mode=eval",
        f"--checkpoint={trained}",
        *data(others),
        *EVALUATION,
        *HERE,
        f"--model_dir={tmp_path / 'new'}",
    )
    assert status == 0, stderr
    assert f"{SIZE} pixels, eval_crop pad" in stderr
    left_out = "it knows 2 classes and folder"
    assert left_out in stderr and "its linear head is left out" in stderr
    saved = flags_of(tmp_path / "new")
    assert (saved["image_size"], saved["eval_crop"]) == (SIZE, "pad")
    result = json.loads((tmp_path / "new" / "result.json").read_text())
    assert any("knn" in name for name in result)
    assert not any("label_top_1" in name for name in result)


def test_only_what_was_given_and_differs_is_named(trained, others, main):
    status, stderr = main("--mode=eval", f"--model_dir={trained}", *data(others), *HERE)
    message = the_message(stderr)
    assert status == 2 and message.count(" there, ") == 1 and "dataset is folder:" in message
    status, stderr = main("--mode=export", f"--model_dir={trained}", "--image_size=64", *HERE)
    assert status == 2 and f"(image_size is {SIZE} there, 64 here)" in the_message(stderr)


def test_another_size_is_said(trained, photos, tmp_path, main):
    arguments = ["--mode=embed", f"--model_dir={trained}", f"--dataset=folder:{photos}", *HERE]
    status, stderr = main(*arguments, "--image_size=48", "--embed_split=validation")
    assert status == 0, stderr
    trained_with = f"--image_size={SIZE} --eval_crop=pad --resizing=antialias"
    assert f"was trained with {trained_with}" in stderr and "--image_size=48" in stderr


def test_fine_tuning_at_another_size_keeps_the_stem(photos, tmp_path, main):
    small, large = tmp_path / "small", tmp_path / "large"
    pretraining = [*data(photos), *TRAINING, "--image_size=32", f"--model_dir={small}"]
    status, stderr = main(*pretraining)
    assert status == 0, stderr
    finetuning = [
        *data(photos),
        *TRAINING,
        "--train_mode=finetune",
        f"--checkpoint={small}",
        f"--model_dir={large}",
    ]
    status, stderr = main(*finetuning, "--stem=imagenet")
    message = the_message(stderr)
    assert status == 2 and "the stem is cifar there and imagenet here" in message
    assert "give --stem=cifar" in message
    shutil.rmtree(large, ignore_errors=True)
    status, stderr = main(*finetuning)
    assert status == 0, stderr
    assert "--stem=cifar, as --checkpoint=" in stderr
    assert flags_of(large)["stem"] == "cifar"
    assert tf_simclr.load(large).image_size == SIZE
