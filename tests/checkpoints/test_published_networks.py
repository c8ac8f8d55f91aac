"""Published models by name, from the download to the network; stand-ins with a block of each."""

import numpy as np
import pytest
import tensorflow as tf

import tf_simclr
from tests.helpers import reference_model
from tests.helpers.configurations import parse_command_line
from tests.helpers.training import initialize_from
from tests.helpers.weights_server import WeightsServer, objects_of
from tf_simclr.checkpoints import pretrained, published_weights, teacher
from tf_simclr.commands import export
from tf_simclr.commands import run as commands
from tf_simclr.errors import UserError
from tf_simclr.models import resnet
from tf_simclr.objectives import objective_class

CLASSES = 7
NAME = "simclrv2:r50_1x_sk0/finetuned_1pct"


@pytest.fixture(scope="module", autouse=True)
def original(tmp_path_factory):
    """The stand-in of a model that is fine-tuned with 1% of the labels, on a server."""
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.FAMILY, 50, (resnet.FAMILY[50][0], (1,)))
        patch.setitem(reference_model.BLOCKS, 50, (1,))
        model = reference_model.ReferenceModel(50, num_classes=CLASSES, ft_proj_selector=1)
        reference_model.save_saved_model(model, folder / "saved")
        objects = objects_of(folder / "saved", "r50_1x_sk0", "finetuned_1pct")
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        with WeightsServer(objects).running() as server:
            patch.setenv("no_proxy", "*")
            patch.setenv(published_weights.MIRROR, server.url)
            yield model


@pytest.fixture
def images(rng):
    return tf.constant(rng.random((2, 48, 48, 3)), tf.float32)


def assert_same(value, expected):
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)


def test_network_flags_follow_from_the_name(original, images, tmp_path):
    run = tmp_path / "run"
    configs, notes = parse_command_line(
        "--mode=export", f"--checkpoint={NAME}", f"--model_dir={run}"
    )
    assert "224 pixels, eval_crop centre, resizing original, ResNet-50" in " ".join(notes)
    (settings,) = configs
    export.export_run(settings)
    exported = tf.saved_model.load(str(run / "saved_model" / "0"))
    expected = original(images)
    outputs = exported(images, trainable=False)
    assert_same(outputs["logits_sup"], expected["logits_sup"])
    assert_same(outputs["final_avg_pool"], expected["final_avg_pool"])


def test_load(original, images):
    model = tf_simclr.load(NAME)
    assert (model.image_size, model.class_names) == (224, tuple("0123456"))
    assert_same(model.embed(images.numpy()), original(images)["final_avg_pool"])
    assert tf_simclr.load(NAME, 48, offline=True).image_size == 48
    assert_same(model.keras_model()(images), original(images)["final_avg_pool"])
    with pytest.raises(UserError, match=r"^simclrv2:r50_1x_sk1/pretrained: it is not in the cache"):
        tf_simclr.load("simclrv2:r50_1x_sk1/pretrained", offline=True)


def test_as_the_teacher(original, images):
    network = teacher.load(NAME, 48)
    assert network.num_outputs == CLASSES
    assert_same(network(images), original(images)["logits_sup"])


def test_fine_tuning_starts_from_it(original, images):
    arguments = ("--train_mode=finetune", "--dataset=digits", f"--checkpoint={NAME}")
    (settings,), _ = parse_command_line(*arguments, "--model_dir=new")
    objective = objective_class(settings)(settings, 10)
    objective.build_variables()
    initialize_from(objective, settings.objective.checkpoint)
    assert len(objective.projection_head.norms) == 1
    assert_same(objective(images)["final_avg_pool"], original(images)["final_avg_pool"])


def test_the_list(capsys):
    published_weights.local_path(NAME)
    (settings,), _ = parse_command_line("--mode=weights")
    commands.run([settings])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 66
    (line,) = [line for line in lines if line.startswith(f"{NAME} ")]
    assert line.split()[1:] == ["50", "1x", "no", "24", "M", "57.9%", "1", "MB"]
    assert [line for line in lines if line.endswith("MB")] == [line]


def test_the_list_downloads_what_is_named(capsys):
    arguments = ("--mode=weights", "--checkpoint=simclrv2:r50_1x_sk1/pretrained", "--offline")
    (settings,), _ = parse_command_line(*arguments)
    with pytest.raises(UserError, match=r"--checkpoint=.*not in the cache"):
        commands.run([settings])


def test_a_run_asks_for_it_before_anything_is_built(tmp_path):
    arguments = ("--train_mode=finetune", "--dataset=digits", "--offline")
    configs, _ = parse_command_line(
        *arguments, "--checkpoint=simclrv2:r50_2x_sk1/pretrained", f"--model_dir={tmp_path / 'a'}"
    )
    with pytest.raises(UserError, match=r"--checkpoint=simclrv2:r50_2x.*: .*--offline"):
        commands.run(configs)
    assert not (tmp_path / "a").exists()


def test_another_layer_of_the_head_is_an_error():
    (settings,), _ = parse_command_line(
        "--mode=export", f"--checkpoint={NAME}", "--model_dir=new", "--ft_proj_selector=0"
    )
    with pytest.raises(UserError, match="--ft_proj_selector=0 may be the wrong one"):
        pretrained.load(NAME, settings=settings)
