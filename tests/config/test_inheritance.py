"""What a configuration takes over from the run it continues, evaluates or starts from."""

import json

import pytest

from tests.helpers.configurations import parse_command_line
from tf_simclr import config
from tf_simclr.config import inheritance
from tf_simclr.errors import UserError

NEWER = ("eval_crop", "resizing", "stem")  # flags that the first runs did not have


@pytest.fixture
def save_run(tmp_path):
    """A function: flags -> path of a run with them; old: as runs were saved before the flags."""

    def make(name="old", old=False, **flags):
        path = tmp_path / name
        path.mkdir(parents=True)
        saved = config.build({"dataset": "digits", "model_dir": str(path), **flags}).resolved()
        if old:
            saved = {name: value for name, value in saved.items() if name not in NEWER}
        (path / "flags.json").write_text(json.dumps(saved))
        return path

    return make


def parse(*arguments):
    """The one configuration of a command line, and what is said of it."""
    (settings,), notes = parse_command_line(*arguments)
    return settings, " ".join(notes)


def decided(settings):
    flags = settings.resolved()
    return {name: flags[name] for name in NEWER}


def test_fine_tuning_keeps_stem_and_preprocessing(save_run):
    run = save_run(image_size=32, eval_crop="pad", resizing="original")
    new = ["--dataset=digits", "--train_mode=finetune", f"--checkpoint={run}", "--image_size=64"]
    settings, notes = parse(*new, "--model_dir=new")
    assert decided(settings) == {"eval_crop": "pad", "resizing": "original", "stem": "cifar"}
    assert "--stem=cifar" in notes and "--eval_crop=pad" in notes
    settings, _ = parse(*new, "--model_dir=new", "--stem=imagenet", "--eval_crop=whole")
    assert decided(settings) == {"eval_crop": "whole", "resizing": "original", "stem": "imagenet"}
    settings, notes = parse("--dataset=digits", "--image_size=64", "--model_dir=new")
    assert decided(settings) == {"eval_crop": "centre", "resizing": "antialias", "stem": "imagenet"}
    assert "auto" not in notes and "--stem" not in notes


def test_stages_keep_what_the_first_one_has(tmp_path):
    arguments = ["--dataset=digits", "--train_mode=pretrain,finetune,distill"]
    sizes = ["--pretrain.image_size=32", "--finetune.image_size=64", "--distill.image_size=64"]
    crops = ["--pretrain.use_crop=False", "--distill.stem=imagenet"]
    configs, _ = parse_command_line(*arguments, *sizes, *crops, f"--model_dir={tmp_path / 'x'}")
    pretrain, finetune, distill = map(decided, configs)
    assert pretrain == finetune == {"eval_crop": "whole", "resizing": "antialias", "stem": "cifar"}
    assert distill["stem"] == "imagenet"  # a student starts from random weights


def test_the_best_checkpoint_and_a_prefix_are_of_the_run(save_run, tmp_path):
    run = save_run(image_size=32)
    (run / "ckpt-3.index").write_text("")
    start = ["--dataset=digits", "--train_mode=finetune", "--image_size=64", "--model_dir=new"]
    settings, _ = parse(*start, f"--checkpoint={run / 'ckpt-3'}")
    assert decided(settings)["stem"] == "cifar"
    arguments = ["--dataset=digits", "--train_mode=pretrain,finetune", "--pretrain.image_size=32"]
    more = ["--finetune.image_size=64", "--finetune.checkpoint=pretrain/best"]
    configs, _ = parse_command_line(*arguments, *more, f"--model_dir={tmp_path / 'x'}")
    assert decided(configs[1])["stem"] == "cifar"


@pytest.mark.parametrize("use_crop", [True, False])
def test_runs_that_are_older_than_the_flags_keep_their_preprocessing(save_run, use_crop):
    run = save_run(old=True, use_crop=use_crop, image_size=64)
    before = {"eval_crop": "centre", "resizing": "original", "stem": "imagenet"}
    same = [f"--model_dir={run}", "--dataset=digits", f"--use_crop={use_crop}", "--image_size=64"]
    for arguments in (
        same,  # the same command again
        [f"--model_dir={run}"],
        [f"--model_dir={run}", "--mode=eval"],
        [f"--model_dir={run}", "--mode=embed", "--dataset=folder:x"],
        ["--model_dir=new", "--mode=eval", f"--checkpoint={run}"],
        ["--model_dir=new", "--mode=export", f"--checkpoint={run}", "--dataset=folder:x"],
        ["--model_dir=new", "--dataset=digits", "--train_mode=finetune", f"--checkpoint={run}"],
    ):
        settings, _ = parse(*arguments)
        assert decided(settings) == before, arguments


def test_chains_that_are_older_than_the_flags(tmp_path):
    sections = {"pretrain": {"checkpoint": ""}, "finetune": {"checkpoint": "pretrain"}}
    saved = {"train_mode": "pretrain,finetune", "dataset": "digits", "use_crop": False, **sections}
    (tmp_path / "flags.json").write_text(json.dumps(saved))
    configs, _ = parse_command_line(f"--model_dir={tmp_path}", "--mode=eval")
    for settings in configs:
        assert settings.preprocessing == (224, "centre", "original")


def test_a_continued_run_needs_its_start_no_more(save_run):
    """What it took over is saved with it."""
    start = save_run("start", image_size=32)
    new = ["--dataset=digits", "--train_mode=finetune", f"--checkpoint={start}", "--image_size=64"]
    settings, _ = parse(*new, f"--model_dir={start.parent / 'run'}")
    save_run("run", **{**settings.resolved(), "model_dir": str(start.parent / "run")})
    (start / "flags.json").unlink()
    again, notes = parse(*new, f"--model_dir={start.parent / 'run'}")
    assert again == settings and notes == ""


def test_weights_of_the_original_release(tmp_path):
    """They have nothing of this package beside them; a file of the same name is another one."""
    (tmp_path / "saved_model.pb").write_text("")
    start = ["--dataset=digits", "--model_dir=new", f"--checkpoint={tmp_path}"]
    for train_mode in ("finetune", "distill"):
        settings, notes = parse(*start, f"--train_mode={train_mode}")
        assert settings.preprocessing.resizing == "original"
        assert f"--resizing=original, as --checkpoint={tmp_path}" in notes
    settings, notes = parse(*start, "--train_mode=finetune", "--resizing=antialias")
    assert settings.preprocessing.resizing == "antialias" and notes == ""
    (tmp_path / "saved_model.pb").unlink()
    (tmp_path / "flags.json").write_text('{"logtostderr": false, "train_mode": null}')
    settings, _ = parse(*start, "--train_mode=finetune")
    assert settings.preprocessing.resizing == "original"
    settings, _ = parse(*start[:2], "--train_mode=finetune", "--checkpoint=/nowhere/at/all")
    assert settings.preprocessing.resizing == "antialias"


def test_another_evaluation_of_a_run_takes_what_the_run_is(save_run):
    network = {"image_size": 48, "resnet_depth": 18, "train_mode": "supervised", "stem": "cifar"}
    of_data = {"eval_split": "test", "seed": 3, "class_weights": "balanced"}
    run = save_run(**network, **of_data, eval_crop="pad", crop_area=(0.5, 1.0))
    of_run = ["--mode=eval", f"--checkpoint={run}", "--model_dir=new"]
    settings, notes = parse(*of_run, "--dataset=folder:birds")
    flags = settings.flat()
    assert {name: flags[name] for name in network} == network
    assert settings.preprocessing == (48, "pad", "antialias")
    assert flags["crop_area"] == (0.5, 1.0) and flags["dataset"] == "folder:birds"
    assert not any(flags[name] == value for name, value in of_data.items())
    assert "48 pixels, eval_crop pad" in notes and "ResNet-18 with the cifar stem" in notes
    settings, _ = parse(*of_run)
    flags = settings.flat()
    assert flags["dataset"] == "digits" and flags.items() >= of_data.items()
    settings, _ = parse(*of_run, "--dataset=folder:birds", "--image_size=64")
    assert settings.preprocessing.size == 64 and settings.model.stem == "cifar"


@pytest.mark.parametrize("mode", ["eval", "embed", "export"])
def test_what_is_not_given_comes_from_the_run(save_run, mode):
    """Also where its data are named."""
    run = save_run(image_size=16, learning_rate=1.0, eval_split="test")
    settings, notes = parse(f"--mode={mode}", f"--model_dir={run}", "--dataset=digits")
    saved = config.build(json.loads((run / "flags.json").read_text()))
    assert settings == saved.replace(mode=mode) and "what is not given" in notes


def test_training_in_a_directory_takes_nothing_from_it(save_run):
    """The same command again is what resumes a run; another one is refused by what differs."""
    run = save_run(image_size=16)
    settings, _ = parse(f"--model_dir={run}", "--dataset=digits")
    assert settings.data.image_size == 224


def test_supervised_weights_may_be_evaluated_but_not_started_from():
    flags = {"train_mode": "supervised", "checkpoint": "x"}
    assert config.build({**flags, "mode": "eval"})
    with pytest.raises(UserError, match="starts from random or published weights"):
        config.build(flags)


@pytest.mark.parametrize("text", ["[1]", "{", '{"image_size": "big"}', '{"image_size": null}'])
def test_a_file_that_is_no_configuration_is_none(tmp_path, text):
    (tmp_path / "flags.json").write_text(text)
    assert inheritance.saved_flags(str(tmp_path)) is None
    assert inheritance.of_a_run(str(tmp_path), with_data=True) == {}


@pytest.mark.parametrize(("dataset", "expected"), [("folder:A", "simple"), ("folder:B", "auto")])
def test_the_layout_of_folders_comes_from_runs_of_the_same_data_set(tmp_path, dataset, expected):
    """Runs from before the flag keep their division; other folders are understood anew."""
    saved = {"dataset": "folder:A"}
    (tmp_path / "flags.json").write_text(json.dumps(saved))
    start = {"train_mode": "finetune", "checkpoint": str(tmp_path), "dataset": dataset}
    (settings,), _ = inheritance.inherit([start])
    assert settings.data.folder_layout == expected


def test_a_run_keeps_its_warmup(save_run):
    """A run from before the flag resumes with its schedule; what starts from it has its own."""
    path = save_run()
    (path / "flags.json").write_text(json.dumps({"dataset": "digits", "model_dir": str(path)}))
    settings, _ = parse("--dataset=digits", f"--model_dir={path}")
    assert settings.resolved()["long_warmup"] == "keep"
    start = ["--train_mode=finetune", f"--checkpoint={path}", f"--model_dir={path}-new"]
    settings, _ = parse("--dataset=digits", *start)
    assert settings.resolved()["long_warmup"] == "cut"
