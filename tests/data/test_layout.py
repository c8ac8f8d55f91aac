"""What folders mean: splits, classes, unlabeled images; pure functions of the files' names."""

import pytest

from tf_simclr.data import layout

ALL = layout.ALL


def recognize(*files):
    """{split: {file: class}} of files."""
    return layout.recognize(files).splits


@pytest.mark.parametrize(
    "name", ["unlabeled", "Unlabelled", "unsorted", "no_label", "No Labels", "un-labeled"]
)
def test_unlabeled_beside_classes_is_no_class(name):
    files = ("cat/1.png", "dog/2.png", f"{name}/3.png", f"{name}/deep/4.png")
    classes = {files[0]: "cat", files[1]: "dog", files[2]: None, files[3]: None}
    assert recognize(*files) == {ALL: classes}
    in_train = {f"train/{file}": label for file, label in classes.items()}
    assert recognize(*in_train, "val/cat/5.png") == {
        "train": in_train,
        "validation": {"val/cat/5.png": "cat"},
    }


@pytest.mark.parametrize("name", ["unknown", "other", "none", "background"])
def test_names_that_people_train_on_are_classes(name):
    assert recognize("cat/1.png", f"{name}/2.png")[ALL][f"{name}/2.png"] == name


def test_unlabeled_beside_splits_is_trained_on():
    """The layout of STL-10."""
    assert recognize("train/cat/1.png", "test/cat/2.png", "unlabeled/3.png") == {
        "train": {"train/cat/1.png": "cat", "unlabeled/3.png": None},
        "test": {"test/cat/2.png": "cat"},
    }


def test_a_class_may_be_called_train():
    classes = {"bus/1.png": "bus", "car/2.png": "car", "train/3.png": "train"}
    assert recognize(*classes) == {ALL: classes}
    assert layout.recognize([*classes]).unused == ()


def test_what_is_beside_splits_is_not_used():
    files = ("train/cat/1.png", "val/cat/2.png", "masks/3.png", "4.png")
    assert set(recognize(*files)) == {"train", "validation"}
    assert layout.recognize(files).unused == ("masks/3.png", "4.png")


@pytest.mark.parametrize("labeled", ["labelled", "labeled", "Labelled"])
def test_labeled_beside_unlabeled(labeled):
    files = (f"{labeled}/cat/1.png", f"{labeled}/dog/2.png", "unlabelled/3.png", "4.png")
    assert recognize(*files) == {ALL: dict(zip(files, ("cat", "dog", None, None)))}
    with_splits = (f"{labeled}/train/cat/1.png", f"{labeled}/val/cat/2.png", "unlabeled/3.png")
    assert recognize(*with_splits) == {
        "train": {with_splits[0]: "cat", with_splits[2]: None},
        "validation": {with_splits[1]: "cat"},
    }


def test_labeled_beside_unlabeled_in_train():
    files = ("train/labelled/cat/1.png", "train/unlabelled/2.png", "val/cat/3.png")
    assert recognize(*files) == {
        "train": {files[0]: "cat", files[1]: None},
        "validation": {files[2]: "cat"},
    }


def test_splits_inside_of_classes():
    files = ("cat/train/1.png", "cat/test/2.png", "dog/train/3.png")
    assert recognize(*files) == {
        "train": {files[0]: "cat", files[2]: "dog"},
        "test": {files[1]: "cat"},
    }


def test_a_folder_around_everything_means_nothing():
    assert recognize("photos/cat/1.png", "photos/dog/2.png") == {
        ALL: {"photos/cat/1.png": "cat", "photos/dog/2.png": "dog"}
    }
    assert set(recognize("data/train/cat/1.png", "data/test/cat/2.png")) == {"train", "test"}
    assert set(recognize("train/cat/1.png", "dev/cat/2.png")) == {"train", "validation"}
    assert recognize("cat/1.png", "cat/deeper/2.png")[ALL]["cat/deeper/2.png"] == "cat"


def test_years_are_classes_and_no_folders_are_none():
    assert recognize("2019/05/1.png", "2020/2.png")[ALL] == {
        "2019/05/1.png": "2019",
        "2020/2.png": "2020",
    }
    assert recognize("1.png", "2.png") == {ALL: {"1.png": None, "2.png": None}}
