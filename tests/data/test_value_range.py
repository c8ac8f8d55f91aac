"""Images with 16 bits a value: scaled by the range of the training images, everywhere alike."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tf_simclr
from tests.helpers.configurations import parse_command_line
from tests.helpers.processes import HERE, TINY
from tf_simclr import config
from tf_simclr.data import datasets, decoding, value_range
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.errors import UserError
from tf_simclr.export import model_card
from tf_simclr.report.runs import Run
from tf_simclr.runs.directory import RunDirectory

LOW, HIGH = 100, 4095  # 12 bits in 16, as microscopes write them


def twelve_bit(seed, high=HIGH):
    """A picture from LOW to `high`, uint16 [20, 20]."""
    values = np.random.default_rng(seed).integers(LOW, high, (20, 20), np.uint16)
    values[0, :2] = LOW, high
    return values


def scaled(values):
    return np.rint((np.clip(values, LOW, HIGH) - LOW) * (255 / (HIGH - LOW)))


@pytest.fixture
def photos(tmp_path):
    """Two classes of 16-bit images, PNG and TIFF, with splits; the test split is brighter."""
    for split, high in (("train", HIGH), ("test", 60000)):
        for number, kind in enumerate(["ant", "bee"]):
            folder = tmp_path / "photos" / split / kind
            folder.mkdir(parents=True)
            for seed in range(4):
                suffix = "tif" if seed % 2 else "png"
                values = twelve_bit(10 * number + seed, high)
                Image.fromarray(values).save(folder / f"{seed}.{suffix}")
    return tmp_path / "photos"


def test_range_of_the_training_images(photos, log):
    data = config.build({"dataset": f"folder:{photos}"}).data
    source = datasets.load(data, "train")
    assert value_range.settle("auto", source) == f"{LOW},{HIGH}"
    assert f"{LOW} (black) to {HIGH} (white), the range of 8 of them" in log.text
    assert value_range.settle("0,255", source) == "0,255"
    assert value_range.settle("top_byte", source) == "top_byte"


def test_the_headers_of_few_files_are_read(photos, monkeypatch):
    source = datasets.load(config.build({"dataset": f"folder:{photos}"}).data, "train")
    opened = []

    def contents(self, index, size=-1):
        opened.append(index)
        return b""

    monkeypatch.setattr(Indexed, "contents", contents)
    monkeypatch.setattr(value_range, "MAX_OPENED", 3)
    assert value_range.settle("auto", source) == "0,65535"
    assert len(set(opened)) == len(opened) == 3


def test_images_of_8_bits_have_no_range(tmp_path, log):
    """Neither the log nor the model card says one, nor the report."""
    for kind in ("ant", "bee"):
        folder = tmp_path / "photos" / "train" / kind
        folder.mkdir(parents=True)
        for mode in ("RGB", "L", "P", "LA", "1"):
            Image.new("L", (20, 20), 7).convert(mode).save(folder / f"{mode}.png")
    settings = config.build({"dataset": f"folder:{tmp_path / 'photos'}"})
    settled = value_range.settle("auto", datasets.load(settings.data, "train"))
    assert settled == "0,65535" and "(black)" not in log.text
    settings = settings.replace(value_range=settled)
    card = model_card.markdown(model_card.ModelDescription(settings, (), 1, {}, {}))
    assert "of which the whole range is used" in card and "65535 white" not in card
    flags = json.loads(json.dumps(settings.flat()))
    run = Run("photos", None, {"flags": flags}, {}, None, None, None)
    assert run.flags_given == {"dataset": settings.data.dataset}
    run.document["flags"]["value_range"] = "0,4095"
    assert run.flags_given["value_range"] == "0,4095"


def test_values_are_scaled_and_cut_off():
    for values in (twelve_bit(0), twelve_bit(0, 60000)):
        contents = tf.io.encode_png(values[..., None])
        image = decoding.decode(contents, value_range=(LOW, HIGH))
        np.testing.assert_array_equal(image, np.repeat(scaled(values)[..., None], 3, -1))
        np.testing.assert_array_equal(decoding.decode(contents)[..., 0], values // 256)
    eight_bit = tf.io.encode_png(np.full((4, 4, 3), 77, np.uint8))
    np.testing.assert_array_equal(
        decoding.decode(eight_bit, value_range=(LOW, HIGH)), np.full((4, 4, 3), 77)
    )


@pytest.mark.usefixtures("shallow", "eager", "without_page")
def test_a_run_keeps_its_range(photos, main, tmp_path):
    """Training, evaluation, Python API and signature see the same pixels."""
    run = tmp_path / "run"
    arguments = [
        *TINY,
        *HERE,
        f"--dataset=folder:{photos}",
        "--eval_split=test",
        "--mode=train_then_eval",
        "--train_batch_size=8",
        "--train_steps=1",
        "--untrained_baseline=False",
        "--use_crop=False",
        "--color_jitter_strength=0",  # colors take seconds to compile
        "--image_size=20",
        f"--model_dir={run}",
    ]
    status, stderr = main(*arguments)
    assert status == 0, stderr
    assert json.loads((run / "flags.json").read_text())["value_range"] == f"{LOW},{HIGH}"
    (same_run,), _ = parse_command_line(*arguments)
    assert RunDirectory(run, same_run).exists  # it would refuse another one
    file = photos / "test" / "ant" / "0.png"
    expected = scaled(twelve_bit(0, 60000)) / 255
    module = tf.saved_model.load(str(run / "saved_model" / "1"))
    answer = module.signatures["preprocess"](tf.constant([file.read_bytes()]))
    np.testing.assert_allclose(answer["images"][0, ..., 0], expected, atol=1e-6)
    images = np.repeat(expected[None, ..., None], 3, -1).astype(np.float32)
    for path in (run, run / "saved_model" / "1"):
        model = tf_simclr.load(str(path))
        np.testing.assert_allclose(model.embed([str(file)]), model.embed(images), atol=1e-5)
    card = (run / "saved_model" / "1" / "assets" / "model_card.md").read_text()
    assert f"{LOW} is black and {HIGH} white" in card


@pytest.mark.parametrize("text", ["5,5", "7,3", "0,65536", "-1,5", "many", "1,2,3"])
def test_ranges_that_are_none(text):
    with pytest.raises(UserError, match="two numbers from 0 to 65535"):
        config.build({"value_range": text})
