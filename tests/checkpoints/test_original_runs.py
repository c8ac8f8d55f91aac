"""Run directories of the original SimCLR release: its flags.json says which network it is."""

import json

import numpy as np
import pytest
import tensorflow as tf

import tf_simclr
from tests.helpers import reference_model
from tests.helpers.configurations import parse_command_line
from tf_simclr.checkpoints import pretrained, teacher
from tf_simclr.errors import UserError
from tf_simclr.models import resnet

CLASSES = 7
WIDTH = 1  # its flag takes whole numbers
SAVED = {  # some of what is in the file
    "logtostderr": False,
    "verbosity": 0,
    "use_tpu": False,
    "checkpoint": None,
    "data_dir": None,
    "model_dir": "/elsewhere",
    "keep_hub_module_max": 1,
    "resnet_depth": 18,
    "width_multiplier": WIDTH,
    "sk_ratio": 0.0,
    "se_ratio": 0.25,
    "proj_head_mode": "nonlinear",
    "proj_out_dim": 8,
    "num_proj_layers": 2,
    "ft_proj_selector": 1,
    "train_mode": "finetune",
    "image_size": 32,
    "dataset": "cifar10",
    "eval_split": "test",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(the network, its run directory)."""
    folder = tmp_path_factory.mktemp("original")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.FAMILY, 18, (resnet.FAMILY[18][0], (1,)))
        patch.setitem(reference_model.BLOCKS, 18, (1,))
        model = reference_model.ReferenceModel(
            18,
            WIDTH,
            image_size=32,
            se_ratio=0.25,
            num_proj_layers=2,
            proj_out_dim=8,
            ft_proj_selector=1,
            num_classes=CLASSES,
        )
        reference_model.save_checkpoint(model, folder)
        reference_model.save_saved_model(model, folder / "saved_model" / "7")
        (folder / "flags.json").write_text(json.dumps(SAVED))
        yield model, folder


@pytest.fixture
def images(rng):
    return tf.constant(rng.random((2, 32, 32, 3)), tf.float32)


def parse(*arguments):
    (settings,), _ = parse_command_line(*arguments)
    return settings


def assert_same(value, expected):
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("path", ["", "ckpt-7"])
def test_load(run, images, path):
    model, folder = run
    loaded = tf_simclr.load(folder / path)
    assert (loaded.image_size, loaded.class_names) == (32, tuple("0123456"))
    outputs = model(images)
    assert_same(loaded.embed(images.numpy()), outputs["final_avg_pool"])
    assert_same(loaded.predict(images.numpy()), tf.nn.softmax(outputs["logits_sup"]))


def test_as_the_teacher(run, images):
    model, folder = run
    assert_same(teacher.load(str(folder), 32)(images), model(images)["logits_sup"])


@pytest.mark.parametrize("path", ["", "ckpt-7", "saved_model/7"])
def test_evaluation_follows_it(run, images, path):
    model, folder = run
    settings = parse("--mode=eval", f"--checkpoint={folder / path}", "--model_dir=new")
    assert (settings.data.dataset, settings.data.image_size) == ("cifar10", 32)
    assert settings.data.resizing == "original"
    loaded = pretrained.load(str(folder / path), settings=settings)
    assert_same(loaded.network(images)["logits_sup"], model(images)["logits_sup"])


def test_fine_tuning_follows_it(run):
    _, folder = run
    arguments = ("--train_mode=finetune", "--dataset=digits", "--model_dir=new")
    settings = parse(*arguments, f"--checkpoint={folder}")
    network = settings.model
    assert (network.resnet_depth, network.se_ratio, network.num_proj_layers) == (18, 0.25, 2)
    assert (network.ft_proj_selector, network.stem) == (1, "cifar")
    with pytest.raises(UserError, match=r"--se_ratio=0: .* is a network with --se_ratio=0.25"):
        parse(*arguments, f"--checkpoint={folder}", "--se_ratio=0")


@pytest.mark.parametrize(
    "arguments", [("--mode=eval",), ("--mode=train", "--dataset=digits"), ("--mode=report",)]
)
def test_it_can_not_be_continued(run, arguments):
    _, folder = run
    message = rf"--model_dir={folder}: it holds a run of the original .* --checkpoint={folder}"
    with pytest.raises(UserError, match=message):
        parse(*arguments, f"--model_dir={folder}")


def test_without_its_flags_those_of_the_network_are_said(run, tmp_path):
    model, _ = run
    reference_model.save_checkpoint(model, tmp_path)
    message = (
        "no flags.json beside the weights says .*--mode=export with .*--width_multiplier=1 "
        "--sk_ratio=0 --se_ratio=0.25 --stem=cifar --num_proj_layers=2 --proj_out_dim=8 makes one"
    )
    with pytest.raises(UserError, match=message):
        tf_simclr.load(tmp_path)
    with pytest.raises(UserError, match=r"--teacher_checkpoint=.*no flags.json beside"):
        teacher.load(str(tmp_path), 32)
