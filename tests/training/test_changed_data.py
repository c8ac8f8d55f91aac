"""Images and classes of a run that are others when it is continued or evaluated."""

import pytest

from tests.data.test_folders import make_images
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
