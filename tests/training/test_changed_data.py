"""Images and classes of a run that are others when it is continued or evaluated."""

import shutil

import pytest

from tests.data.test_folders import make_images
from tf_simclr.errors import UserError
from tf_simclr.runs import files as run_files
from tf_simclr.training.experiment import build_experiment


@pytest.fixture
def folder(tmp_path):
    """Images of three classes."""
    folder = tmp_path / "images"
    names = [f"{name}/{i}.png" for name in ("cat", "dog", "fox") for i in range(3)]
    make_images(folder, *names)
    return folder


@pytest.fixture
def options(settings, folder):
    return settings(
        dataset=f"folder:{folder}",
        eval_split="validation",
        train_mode="supervised",
        mode="train_then_eval",
    )


def begin(options):
    """A run directory with what is written when a training begins."""
    experiment = build_experiment(options)
    experiment.lock_directory()
    experiment.commit_directory()
    return experiment


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_other_images_are_told(options, folder, shallow, logged, mode):
    num_images = begin(options).data.num_images
    make_images(folder, *[f"cat/more{i}.png" for i in range(5)])
    logged()
    num_now = build_experiment(options.replace(mode=mode)).data.num_images
    (message,) = [line for line in logged() if "images and there are" in line]
    assert message.startswith(f"the run began with {num_images} images and there are {num_now} now")
    assert ("the steps of an epoch" in message) == (mode == "train")


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ("dog", "wolf", "its class 1 is dog, that of {dataset} is fox"),  # after the fox
        ("dog", None, "it knows 3 classes and {dataset} has 2"),
        (None, "cow", "it knows 3 classes and {dataset} has 4"),
    ],
)
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_run_with_other_classes_is_refused(options, folder, shallow, mode, old, new, difference):
    experiment = begin(options)
    change_class(folder, old, new)
    again = options.replace(mode=mode)
    assert build_experiment(again)  # there are no weights that know the classes
    experiment.checkpoints.save()
    with pytest.raises(UserError) as error:
        build_experiment(again)
    message = str(error.value)
    assert difference.format(dataset=options.data.dataset) in message
    assert "undo what was changed in its classes (cat, dog, fox)" in message
    way_out = f"--train_mode=finetune --checkpoint={options.train.model_dir} --model_dir=NEW"
    assert message.endswith(way_out)


def change_class(folder, old, new):
    if old and new:
        (folder / old).rename(folder / new)
    elif old:
        shutil.rmtree(folder / old)
    else:
        make_images(folder, f"{new}/0.png", f"{new}/1.png")


def test_another_name_in_the_same_place_is_told(options, folder, shallow, log):
    begin(options).checkpoints.save()
    change_class(folder, "dog", "dogs")
    assert build_experiment(options).class_names == ("cat", "dogs", "fox")
    assert "its class 1 is dog, that of" in log.text
    assert "a new name of the same class, also in results and exports" in log.text


def test_classes_that_play_no_part(options, folder, shallow):
    """Of a pretraining without a classifier, and of a run that has not saved their names."""
    pretraining = {"train_mode": "pretrain", "lineareval_while_pretraining": False}
    pretraining = options.replace(**pretraining, model_dir=f"{options.train.model_dir}_pretrain")
    begin(pretraining).checkpoints.save()
    experiment = begin(options)
    experiment.checkpoints.save()
    experiment.directory.write(run_files.DATA, {"images": 9})
    change_class(folder, "dog", "wolf")
    for flags in (pretraining, options):
        assert build_experiment(flags)


def test_a_run_holds_out_the_same_images(options, folder, shallow):
    """Also one that starts from its weights, unless another choice is asked for."""
    options = options.replace(eval_every_epochs=1, holdout_fraction=0.3)
    make_images(folder, *[f"{name}/more{i}.png" for name in ("cat", "fox") for i in range(20)])
    first = begin(options).data
    make_images(folder, *[f"{name}/new{i}.png" for name in ("cat", "dog") for i in range(9)])
    start = {"train_mode": "finetune", "checkpoint": options.train.model_dir}
    start = options.replace(**start, model_dir=f"{options.train.model_dir}_ft")
    for again in (options.replace(mode="eval"), options, start):
        data = build_experiment(again).data
        assert data.held_out.example_names == first.held_out.example_names
        assert {*first.train_source.example_names} < {*data.train_source.example_names}
    other = build_experiment(start.replace(seed=1)).data
    assert other.held_out.example_names != first.held_out.example_names
