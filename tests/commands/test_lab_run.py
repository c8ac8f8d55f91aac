"""`run.py` with the two encoders of CMC: a chain, and all that starts from its weights."""

import numpy as np
import pytest
from absl import flags as absl_flags

import run
import tf_simclr
from tests.helpers.configurations import TINY, parse_command_line
from tests.helpers.eager import eagerly
from tf_simclr.checkpoints import pretrained, teacher
from tf_simclr.export import model_card
from tf_simclr.models import resnet

FLAGS = [f"--{name}={value}" for name, value in {**TINY, "color_jitter_strength": 0}.items()]


@pytest.fixture(scope="module", autouse=True)
def _shallow():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.FAMILY, 18, (resnet.FAMILY[18][0], (1,)))
        yield


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """The run directory of pretraining and fine-tuning; only the first stage names the task."""
    root = tmp_path_factory.mktemp("lab") / "chain"
    stages = ["--train_mode=pretrain,finetune", "--pretrain.pretext=cmc", f"--model_dir={root}"]
    with pytest.MonkeyPatch.context() as patch, eagerly():
        patch.setattr(absl_flags, "FLAGS", absl_flags.FlagValues())
        assert run.main(["run.py", "--mode=train", *FLAGS, *stages]) == 0
    return root


def test_what_follows_is_of_both_halves(chain, rng):
    images = rng.random((3, 16, 16, 3)).astype(np.float32)
    model = tf_simclr.load(chain / "finetune")
    features = model.embed(images)
    np.testing.assert_allclose(model.keras_model()(images), features, rtol=1e-4, atol=1e-5)
    assert tf_simclr.load(chain / "pretrain").embed(images).shape == features.shape
    settings = pretrained.load(chain / "finetune").settings
    card = model_card.markdown(model_card.ModelDescription(settings, (), 3, {}, {}))
    title, *_ = card.splitlines()
    assert title == "# ResNet-18 0.07x, half of it for lightness and half for colors"


def test_it_teaches(chain):
    images = np.zeros((1, 16, 16, 3), np.float32)
    assert teacher.load(str(chain / "finetune"), 16)(images).shape == (1, 10)
    features = teacher.load(str(chain / "pretrain"), 16, teacher.FEATURES)(images)
    assert features.shape == tf_simclr.load(chain / "pretrain").embed(images).shape


def test_one_of_its_weights_is_no_resnet(chain):
    message = "are of --backbone=lab, which is no single ResNet; tf_simclr.load"
    with pytest.raises(ValueError, match=message):
        tf_simclr.resnet(weights=chain / "pretrain")


@pytest.mark.parametrize("mode", ["--mode=eval", "--mode=export", "--train_mode=finetune"])
def test_what_starts_from_it_has_its_encoder(chain, mode):
    arguments = ["--model_dir=new", "--dataset=digits", f"--checkpoint={chain / 'pretrain'}", mode]
    (settings,), notes = parse_command_line(*arguments)
    assert settings.backbone == "lab"
    assert any("lab" in note.lower() for note in notes)


def test_another_encoder_is_refused(chain, main, tmp_path):
    start = [
        f"--checkpoint={chain / 'pretrain'}",
        "--train_mode=finetune",
        f"--model_dir={tmp_path}",
    ]
    status, stderr = main(*FLAGS, *start, "--backbone=resnet")
    assert status == 2 and "another network than the flags say; give --backbone=lab" in stderr, (
        stderr
    )
    status, stderr = main(*FLAGS, *start, "--train_mode=finetune", "--stem=imagenet")
    assert status == 2 and "the stem is cifar there and imagenet here" in stderr, stderr
