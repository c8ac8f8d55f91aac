"""What is evaluated: splits that are missing, copies, missing classes, images of the training."""

import dataclasses
import json
import re
import shutil

import pytest
from etils import epath

from tests.data.test_folders import make_images
from tf_simclr.config.data_sections import DataConfig
from tf_simclr.config.splits import overlap
from tf_simclr.data import datasets, label_subset
from tf_simclr.errors import UserError
from tf_simclr.report import markdown_tables
from tf_simclr.training.earlier_runs import saved_division
from tf_simclr.training.eval_data import load_eval_source
from tf_simclr.training.experiment import build_experiment
from tf_simclr.training.training_data import load_training_data


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "images"


@pytest.fixture
def sources(settings, folder):
    """A function: flags -> (what is trained on, what is evaluated)."""

    def sources(directory, moved=None, **flags):
        options = settings(dataset=f"folder:{folder}", **flags)
        data = load_training_data(
            options, directory=directory, related=[], later=[], num_replicas=1
        )
        return data, load_eval_source(options, data.train_source)

    return sources


@pytest.fixture
def directory(settings):
    from tf_simclr.runs.directory import RunDirectory

    return RunDirectory(settings().train.model_dir)


def test_copies_and_classes_that_are_missing(sources, directory, folder, log):
    make_images(folder, "train/cat/1.png", "train/dog/2.png", "train/cow/3.png", "test/cat/4.png")
    shutil.copy(folder / "train/dog/2.png", folder / "test/cat/same.png")
    sources(directory, eval_split="test")
    message = "1 of 2 images of split test are exact copies of images that are trained on"
    assert message in log.text and "e.g. test/cat/same.png of train/dog/2.png" in log.text
    message = "2 of 3 classes never occur in split test, so nothing is known of them: cow, dog"
    assert message in log.text
    make_images(folder, "test/dog/5.png")
    sources(directory, eval_split="test")
    assert "1 of 3 classes never occurs in split test, so nothing is known of it: cow" in log.text


def test_copies_among_images_without_label(settings, folder, tmp_path, shallow, log):
    names = ("train/cat/1.png", "train/dog/2.png", "test/cat/4.png", "test/dog/5.png")
    make_images(folder, *names)
    make_images(tmp_path / "more", "6.png", "7.png", "8.png")
    shutil.copy(folder / "test/cat/4.png", tmp_path / "more" / "9.png")
    more = f"folder:{tmp_path / 'more'}"
    flags = {"dataset": f"folder:{folder}", "unlabeled_dataset": more, "eval_split": "test"}
    build_experiment(settings(mode="train_then_eval", **flags, train_batch_size=4))
    assert "1 of 2 images of split test are exact copies of images that are trained on" in log.text


def test_classes_that_differ_are_named(settings, monkeypatch):
    train = datasets.load(DataConfig(dataset="digits"), "train")
    names = tuple(map(str, range(100)))
    train = dataclasses.replace(train, class_names=(*names, "cow"))
    evaluated = dataclasses.replace(train, class_names=(*names, "ant"))
    monkeypatch.setattr(datasets, "load", lambda *arguments, **options: evaluated)
    first = "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ..."
    message = f"its classes ({first}) are not those of train ({first}); in one of the splits only: "
    with pytest.raises(UserError, match=re.escape(message + "ant, cow")):
        load_eval_source(settings(), train)


def test_a_table_that_says_what_is_evaluated(settings, tmp_path):
    """It holds for the same images without label, too."""
    make_images(tmp_path / "all", "1.png", "2.png", "3.png", "4.png")
    table = tmp_path / "labels.csv"
    table.write_text("file,label,split\n1.png,a,train\n2.png,b,train\n3.png,a,test\n")
    flags = {"dataset": f"folder:{tmp_path / 'all'}", "labels": str(table)}
    options = settings(**flags, unlabeled_dataset=f"folder:{tmp_path / 'all'}/")
    unlabeled = datasets.load_unlabeled(options.data)
    names, _ = unlabeled.example_ids()
    assert "3.png" not in names and unlabeled.num_labeled == 0


def test_a_folder_without_images_to_evaluate(sources, directory, folder):
    make_images(folder, "train/cat/1.png", "train/cat/2.png")
    with pytest.raises(UserError, match=r"give .*images/train as the folder, a tenth of which is"):
        sources(directory, eval_split="validation")


def test_evaluation_on_images_of_the_training_is_said(sources, directory, folder, log):
    make_images(folder, "train/cat/1.png", "train/dog/2.png")
    sources(directory, eval_split="train")
    assert "split train is trained on and evaluated (--eval_split=train)" in log.text
    document = {"run": {"train_split": "train", "eval_split": "train"}, "figures": {}}
    document["left_out"] = []
    assert markdown_tables.ON_TRAINING_IMAGES in markdown_tables.results_table(document)
    document["run"]["eval_split"] = "test"
    assert markdown_tables.ON_TRAINING_IMAGES not in markdown_tables.results_table(document)


@pytest.mark.parametrize(
    ("train", "evaluated", "expected"),
    [
        ("train", "train", True),
        ("train", "train[:10%]", True),
        ("train[:90%]", "train[90%:]", False),
        ("train", "training", False),
        ("train", "", False),
        ("train+validation", "validation", True),
        ("train", "test + train[:10%]", True),
        ("train[:90%]+extra", "train[90%:]+test", False),
    ],
)
def test_splits_that_overlap(train, evaluated, expected):
    assert overlap(train, evaluated) == expected


def test_a_run_keeps_its_division(settings, folder, eager, shallow):
    """The image that stands for its class stays held out, also if one with a lower hash comes."""
    options = settings(dataset=f"folder:{folder}", eval_split="validation", mode="train_then_eval")
    make_images(folder, *[f"class{label}/{i}.png" for label in range(6) for i in range(2)])
    first = build_experiment(options)
    assert first.eval_source.num_examples == 6
    first.lock_directory()
    first.commit_directory()
    make_images(folder, *[f"class{label}/more{i}.png" for label in range(6) for i in range(5)])
    later = build_experiment(options)
    assert later.data.division == first.data.division
    evaluated = {*later.eval_source.example_names}
    assert not {*first.data.train_source.example_names} & evaluated
    assert {*first.eval_source.example_names} <= evaluated
    elsewhere = {"model_dir": f"{options.train.model_dir}_ft", "train_mode": "finetune"}
    start = options.replace(**elsewhere, checkpoint=options.train.model_dir)
    assert build_experiment(start).data.division == first.data.division
    # Also where only a stage after it starts from that run.
    baseline = options.replace(**{**elsewhere, "train_mode": "supervised"})
    assert build_experiment(baseline, later=[start]).data.division == first.data.division


def test_a_folder_by_another_name(folder, tmp_path, monkeypatch):
    """It is the same data set: what a run held out of it, and which labels it used."""
    folder.mkdir()
    moved = {"ab": True}
    (tmp_path / "division.json").write_text(
        json.dumps({"dataset": f"folder:{folder}", "moved": moved})
    )
    monkeypatch.chdir(tmp_path)
    for name in (f"folder:{folder}/", "folder:images", "folder:./images/", "images"):
        assert saved_division(name, [epath.Path(tmp_path)]) == moved, name
        question = label_subset.question_of(DataConfig(dataset=name))
        subset = {**question, "dataset": f"folder:{folder}"}
        assert label_subset.matching([subset], question) == subset
    for name in ("folder:image", "digits", f"folder:{folder},folder:{folder}"):
        assert saved_division(name, [epath.Path(tmp_path)]) is None, name


def test_pretraining_needs_no_evaluation_split(settings, directory, folder):
    make_images(folder, "1.png")
    options = settings(dataset=f"folder:{folder}", eval_split="validation", mode="train")
    data = load_training_data(options, directory=directory, related=[], later=[], num_replicas=1)
    assert data.num_images == 1
    with pytest.raises(UserError, match="so there is nothing to evaluate on: add images"):
        load_eval_source(options, data.train_source)


COMMAND = ("--mode=train_then_eval", "--image_size=16", "--train_steps=1")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--eval_split=valid",), "--eval_split=valid: folder:"),
        (("--eval_split=test", "--finetune.eval_split=dev"), "--eval_split=dev: folder:"),
        ((), "(--eval_split has its default)"),
    ],
)
def test_a_split_that_is_missing_is_said_before_the_training(main, folder, flags, message):
    make_images(folder, "train/cat/1.png", "train/dog/2.png", "test/cat/3.png")
    model_dir = folder.parent / "run"
    start = (*COMMAND, "--train_mode=pretrain,finetune", f"--model_dir={model_dir}")
    status, stderr = main(*start, f"--dataset={folder}", *flags)
    assert status == 2
    assert message in stderr and "has no such split, only train, test" in stderr
    assert not (model_dir / "pretrain" / "flags.json").exists()


def test_a_flag_of_a_recipe_is_not_blamed_on_the_user(main, folder):
    make_images(folder, "train/cat/1.png", "val/cat/2.png")
    status, stderr = main(
        "--config=digits_quickstart",
        f"--dataset=folder:{folder}",
        "--mode=train_then_eval",
        f"--model_dir={folder.parent / 'run'}",
    )
    assert status == 2
    assert "--eval_split=test: " in stderr
    assert "(--eval_split is as in --config=digits_quickstart)" in stderr


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.h5", "Keras (HDF5)"),
        ("a.keras", "Keras"),
        ("a.pth", "PyTorch"),
        ("a.safetensors", "a safetensors file"),
    ],
)
@pytest.mark.parametrize("flag", ["checkpoint", "teacher_checkpoint"])
def test_weights_of_other_programs(main, tmp_path, name, kind, flag):
    (tmp_path / name).write_bytes(b"weights")
    mode = {"checkpoint": "finetune", "teacher_checkpoint": "distill"}[flag]
    status, stderr = main(
        "--dataset=digits",
        "--eval_split=test",
        f"--train_mode={mode}",
        f"--{flag}={tmp_path / name}",
        f"--model_dir={tmp_path / 'run'}",
    )
    assert status == 2
    assert f"--{flag}={tmp_path / name}: it is a" in stderr and kind in stderr
    assert "which is not read; give a run directory" in stderr


def test_the_path_of_a_folder_names_a_data_set(tmp_path, monkeypatch, settings):
    make_images(tmp_path / "photos", "1.png")
    monkeypatch.chdir(tmp_path)
    path = str(tmp_path / "photos")
    assert settings(dataset=path).data.dataset == f"folder:{path}"
    assert settings(dataset="./photos").data.dataset == "folder:./photos"
    assert settings(transfer_datasets=f"digits,{path}").eval.transfer_datasets[1][:7] == "folder:"
    from tf_simclr.data import datasets

    source = datasets.load(settings(dataset="photos").data, "train")
    assert source.example_names == ("1.png",)
