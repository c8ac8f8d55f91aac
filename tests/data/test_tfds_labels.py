"""Labels of tensorflow-datasets that are numbers, or several of them."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.data.test_datasets import TinyPictures, examples
from tf_simclr import config
from tf_simclr.data import datasets

IMAGE = tfds.features.Image(shape=(None, None, 3))
NUMBERS = (7, 3, -1, 12)


class _Builder(TinyPictures):
    def _split_generators(self, manager):
        return {"train": self._generate_examples(8), "test": self._generate_examples(4)}

    def _generate_examples(self, count):
        for i in range(count):
            values = {
                "image": np.full((4, 5, 3), i, np.uint8),
                "label": NUMBERS[i % 4],
                "number": i,
                "coarse": i % 2,
                "attributes": [i % 3, 2],
            }
            yield i, {name: values[name] for name in self.FEATURES}


class TinyIntegers(_Builder):
    FEATURES = {"image": IMAGE, "label": np.int64, "number": np.int64}


class TinySeveral(_Builder):
    FEATURES = {
        "image": IMAGE,
        "coarse": tfds.features.ClassLabel(names=["even", "odd"]),
        "attributes": tfds.features.Sequence(tfds.features.ClassLabel(num_classes=3)),
    }


class TinyUnlabeled(TinyPictures):
    """As STL-10: a split in which the class of all images is -1."""

    FEATURES = {"image": IMAGE, "label": tfds.features.ClassLabel(names=["even", "odd"])}

    def _split_generators(self, manager):
        return {"train": self._images(6), "unlabelled": self._images(9, label=-1)}

    def _images(self, count, label=None):
        for i in range(count):
            pixels = np.full((4, 5, 3), i, np.uint8)
            yield i, {"image": pixels, "label": i % 2 if label is None else label}


class TinyLists(_Builder):
    FEATURES = {name: TinySeveral.FEATURES[name] for name in ("image", "attributes")}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tfds"))


def load(data_dir, dataset, split="train", **flags):
    flags = {"dataset": dataset, "data_dir": data_dir, **flags}
    return datasets.load(config.build(flags).data, split)


@pytest.mark.parametrize("limit", [2**30, 0])
def test_numbers_are_labels(data_dir, monkeypatch, log, limit):
    monkeypatch.setattr("tf_simclr.data.source.MEMORY_LIMIT", limit)
    source = load(data_dir, "tiny_integers")
    assert source.class_names == ("3", "7", "12")
    assert source.num_labeled == 6 and source.num_examples == 8
    expected = [(1, 0, -1, 2)[number % 4] for number, _ in examples(source)]
    assert [label for _, label in examples(source)] == expected
    assert load(data_dir, "tiny_integers", "test").class_names == source.class_names
    assert "tiny_integers: labels are label (3 classes)" in log.text


def test_several_labels(data_dir, log):
    source = load(data_dir, "tiny_several")
    assert source.class_names == ("even", "odd") and source.num_labeled == 8
    text = "not used: attributes (several of 3 classes an image)"
    assert f"tiny_several: labels are coarse (2 classes); {text}" in log.text
    source = load(data_dir, "tiny_lists")
    assert source.class_names == () and source.num_labeled == 0
    assert f"tiny_lists: no label is taken; {text}" in log.text


def test_labels_that_are_not_wanted(data_dir):
    source = load(data_dir, "tiny_several", labels="none")
    assert source.class_names == () and source.num_labeled == 0
    with pytest.raises(config.UserError, match=r"--labels=a.csv: tables are for --dataset=folder"):
        load(data_dir, "tiny_several", labels="a.csv")


@pytest.mark.parametrize("limit", [2**30, 0])
def test_a_split_without_labels(data_dir, monkeypatch, limit):
    """Also of a stream, whose labels nobody has counted."""
    monkeypatch.setattr("tf_simclr.data.source.MEMORY_LIMIT", limit)
    both = load(data_dir, "tiny_unlabeled", "train+unlabelled")
    assert (both.num_examples, both.num_labeled) == (15, 6)
    assert load(data_dir, "tiny_unlabeled", "unlabelled").num_labeled == 0
    assert load(data_dir, "tiny_unlabeled").num_labeled == 6
