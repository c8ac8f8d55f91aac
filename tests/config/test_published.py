"""The published models by name: what follows from it, and what contradicts it."""

import json

import pytest

from tests.helpers.configurations import parse_command_line
from tf_simclr import config
from tf_simclr.config import published
from tf_simclr.errors import UserError

HEAD_LAYERS = dict(zip(published.VARIANTS, (3, 1, 1, 0, 0)))
NETWORK = ("resnet_depth", "width_multiplier", "sk_ratio", "num_proj_layers", "stem")


def parse(*arguments):
    configs, notes = parse_command_line("--dataset=digits", "--model_dir=new", *arguments)
    return [settings.flat() for settings in configs], " ".join(notes)


def network(flags):
    return [flags[name] for name in NETWORK]


def test_there_are_65():
    names = published.names()
    assert len(set(names)) == 65
    for name in names:
        published.check(name, name)
        settings = config.build(published.flags(name))
        assert published.is_name(name) and 50 < published.top1(name) < 84
        _, variant = published.split(name)
        assert settings.head_layers == HEAD_LAYERS[variant]


def test_a_training_follows_the_network():
    name = "simclrv2:r101_2x_sk1/finetuned_10pct"
    (flags,), notes = parse("--train_mode=finetune", f"--checkpoint={name}")
    assert network(flags) == [101, 2.0, 0.0625, 3, "imagenet"]
    assert (flags["ft_proj_selector"], flags["resizing"]) == (1, "original")
    assert "--resnet_depth=101" in notes and "--num_proj_layers" not in notes
    (flags,), _ = parse("--train_mode=finetune", f"--checkpoint={name}", "--ft_proj_selector=0")
    assert flags["ft_proj_selector"] == 0


def test_small_images_keep_the_stem():
    (flags,), _ = parse(
        "--train_mode=finetune", "--checkpoint=simclrv2:r50_1x_sk0/pretrained", "--image_size=32"
    )
    assert (flags["stem"], flags["ft_proj_selector"]) == ("imagenet", 0)


def test_later_stages_follow_the_first():
    (pretrain, finetune, distill), _ = parse(
        "--train_mode=pretrain,finetune,distill", "--checkpoint=simclrv2:r50_2x_sk0/pretrained"
    )
    assert network(pretrain) == network(finetune) == [50, 2.0, 0.0, 3, "imagenet"]
    assert distill["width_multiplier"] == 1.0  # a student is a network of its own


def test_a_teacher_says_nothing_of_the_student():
    (flags,), _ = parse(
        "--train_mode=distill", "--teacher_checkpoint=simclrv2:r152_3x_sk1/finetuned_100pct"
    )
    assert network(flags)[:3] == [50, 1.0, 0.0]


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_what_contradicts_the_name(mode):
    message = (
        r"--width_multiplier=1: simclrv2:r50_2x_sk0/pretrained is a network with "
        r"--width_multiplier=2.0; leave --width_multiplier out"
    )
    with pytest.raises(UserError, match=message):
        parse(
            f"--mode={mode}",
            "--train_mode=finetune",
            "--checkpoint=simclrv2:r50_2x_sk0/pretrained",
            "--width_multiplier=1",
        )


@pytest.mark.parametrize("flag", ["checkpoint", "teacher_checkpoint"])
@pytest.mark.parametrize("mode", ["train", "embed"])
def test_names_that_do_not_exist(flag, mode):
    message = (
        f"--{flag}=simclrv2:r50_3x_sk0/pretrained: there is no such published model; .*"
        "--mode=weights lists them. Did you mean 'simclrv2:r50_1x_sk0/pretrained'"
    )
    with pytest.raises(UserError, match=message):
        parse(
            f"--mode={mode}",
            "--train_mode=distill",
            f"--{flag}=simclrv2:r50_3x_sk0/pretrained",
        )


def test_data_follow_where_none_are_named():
    configs, _ = parse_command_line(
        "--mode=eval", "--checkpoint=simclrv2:r50_1x_sk0/supervised", "--model_dir=new"
    )
    assert configs[0].data.dataset == "imagenet2012"
    assert configs[0].objective.train_mode == "supervised"


def test_a_run_that_is_continued_stays_what_it_is(tmp_path):
    """Also one that began before the network followed from the name."""
    name = "simclrv2:r50_2x_sk0/pretrained"
    network = {"width_multiplier": 2.0, "num_proj_layers": 2, "stem": "imagenet"}
    flags = {"dataset": "digits", "train_mode": "finetune", "checkpoint": name, **network}
    saved = config.build({**flags, "model_dir": str(tmp_path)}).resolved()
    (tmp_path / "flags.json").write_text(json.dumps(saved))
    for arguments in ((), ("--width_multiplier=2", "--num_proj_layers=2")):
        (settings,), _ = parse_command_line(
            "--dataset=digits",
            "--train_mode=finetune",
            f"--checkpoint={name}",
            f"--model_dir={tmp_path}",
            *arguments,
        )
        assert (settings.model.width_multiplier, settings.model.num_proj_layers) == (2.0, 2)
