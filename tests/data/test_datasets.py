"""Digits and tensorflow-datasets as sources, in memory and streamed; both kinds have to agree."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tf_simclr import config
from tf_simclr.commands.planning.look import facts_of
from tf_simclr.data import datasets, decoding, label_subset, streamed_source
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.streamed_source import Streamed
from tf_simclr.errors import UserError

CLASSES = ["ant", "bee", "cow"]


class TinyPictures(tfds.core.GeneratorBasedBuilder):
    """Image i is filled with i and has the label i % 3."""

    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(names=CLASSES),
    }

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(self.FEATURES)
        )

    def _split_generators(self, manager):
        return {"train": self._generate_examples(30), "test": self._generate_examples(7)}

    def _generate_examples(self, count):
        for i in range(count):
            example = {
                "image": np.full((4, 5, 3), i, np.uint8),
                "label": CLASSES[i % 3],
                "number": i,
            }
            yield i, {name: example[name] for name in self.FEATURES}


class TinyUnlabelled(TinyPictures):
    FEATURES = {"image": tfds.features.Image(shape=(None, None, 3))}


class TinyNumbers(TinyPictures):
    FEATURES = {"number": tfds.features.Scalar(np.int64)}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture
def load(data_dir):
    def load(split="train", dataset="tiny_pictures", **flags):
        return datasets.load(
            config.build({"dataset": dataset, "data_dir": data_dir, **flags}).data, split
        )

    return load


@pytest.fixture
def both(load, monkeypatch):
    """A function: split -> (the source in memory, the same one streamed)."""

    def both(split="train", **flags):
        monkeypatch.setattr("tf_simclr.data.source.MEMORY_LIMIT", 2**30)
        indexed = load(split, **flags)
        monkeypatch.setattr("tf_simclr.data.source.MEMORY_LIMIT", 0)
        streamed = load(split, **flags)
        assert isinstance(indexed, Indexed) and isinstance(streamed, Streamed)
        return indexed, streamed

    return both


def examples(source):
    """[(image number, label)] in the source's own order."""
    return [(int(source.decode(record)[0, 0, 0]), int(label)) for record, label in source.ordered()]


def digits(split):
    return datasets.load(config.build({"dataset": "digits"}).data, split)


def test_digits():
    train, test = digits("train"), digits("test")
    assert (train.num_examples, test.num_examples) == (1437, 360)
    for source in (train, test):
        assert (
            source.class_names == tuple("0123456789") and source.num_labeled == source.num_examples
        )
        assert (
            source.records.shape == (source.num_examples, 8, 8, 3)
            and source.records.dtype == np.uint8
        )
        assert source.records.min() == 0 and source.records.max() == 255
        share = np.bincount(source.labels) / source.num_examples
        np.testing.assert_allclose(share, np.full(10, 0.1), atol=0.005)
    np.testing.assert_array_equal(digits("test").records, test.records)


def test_digits_of_test_are_not_those_of_train():
    from sklearn.datasets import load_digits

    every = np.round(load_digits().images * (255 / 16)).astype(np.uint8)
    records = np.concatenate([digits(split).records for split in ("train", "test")])
    np.testing.assert_array_equal(
        *[np.sort([image.tobytes() for image in images]) for images in (every, records[..., 0])]
    )


def test_digits_have_no_validation_split():
    with pytest.raises(
        UserError, match="--eval_split=validation: digits has no such split, only train, test"
    ):
        digits("validation")


@pytest.mark.parametrize(
    ("split", "count"), [("train", 30), ("test", 7), ("train[:50%]", 15), ("train[4:]+test", 33)]
)
def test_both_kinds_have_the_same_examples(both, split, count):
    indexed, streamed = both(split)
    assert examples(indexed) == examples(streamed)
    assert all(label == number % 3 for number, label in examples(indexed))
    for source in (indexed, streamed):
        assert source.num_examples == source.num_labeled == len(examples(source)) == count
        assert source.class_names == ("ant", "bee", "cow") and source.split == split


def test_a_cached_data_set_is_in_memory_whatever_its_size(load, monkeypatch):
    monkeypatch.setattr("tf_simclr.data.source.MEMORY_LIMIT", 0)
    assert isinstance(load(cache_dataset=True), Indexed)


def test_both_kinds_choose_the_same_labels(both):
    few = config.build({"dataset": "tiny_pictures", "labels_per_class": 2}).data
    (indexed, written), (streamed, same) = (
        label_subset.restrict(source, few, 3) for source in both()
    )
    assert written == same
    assert examples(indexed) == examples(streamed)
    for source in (indexed, streamed):
        known = [(number, label) for number, label in examples(source) if label >= 0]
        assert sorted(label for _, label in known) == [0, 0, 1, 1, 2, 2]
        assert all(label == number % 3 for number, label in known)
        assert examples(source.labeled()) == known
        assert (
            source.num_labeled == source.labeled().num_examples == source.labeled().num_labeled == 6
        )


def test_a_written_subset_outlives_a_change_of_kind(both):
    few = config.build({"dataset": "tiny_pictures", "label_fraction": 0.3}).data
    indexed, streamed = both("test")
    for source, other in ((indexed, streamed), (streamed, indexed)):
        restricted, written = label_subset.restrict(source, few, 3)
        again, _ = label_subset.restrict(other, few, 3, [written])
        assert examples(again) == examples(restricted)


def test_at_most_and_only_labeled(both):
    for source in both():
        every, cut = examples(source), source.at_most(5)
        assert examples(source.labeled()) == every and examples(source.at_most(100)) == every
        assert examples(cut) == every[:5] and cut.num_examples == cut.num_labeled == 5


def test_a_seeded_cut_is_a_draw():
    source = digits("train")
    first, same, other = (source.at_most(50, seed).records for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other) and not np.array_equal(first, source.records[:50])
    assert len({record.tobytes() for record in first}) == 50


def test_example_ids_are_unique(both):
    ids, labels = zip(*(source.example_ids() for source in both()))
    assert len(set(ids[0])) == 30
    np.testing.assert_array_equal(ids[0], ids[1])
    np.testing.assert_array_equal(labels[0], labels[1])


def test_a_data_set_without_labels(both):
    for source in both(dataset="tiny_unlabelled"):
        assert source.num_classes == source.num_labeled == 0
        assert sorted(examples(source)) == [(i, -1) for i in range(30)]
        assert source.labeled().num_examples == 0 and examples(source.labeled()) == []


def test_a_data_set_without_images(load):
    with pytest.raises(UserError, match="no image feature, only number"):
        load(dataset="tiny_numbers")


@pytest.mark.parametrize(
    ("dataset", "hint"),
    [
        ("tiny_picture", "Did you mean 'tiny_pictures'"),
        ("digit", "'digits'"),
        ("cifar-10", "'cifar10'"),
    ],
)
def test_an_unknown_name_shows_the_nearest(load, dataset, hint):
    with pytest.raises(UserError, match=hint):
        load(dataset=dataset)


@pytest.mark.parametrize("split", ["validation", "trian", "trian[:3]", "train[:3", "train+trian"])
def test_an_unknown_split(load, split):
    with pytest.raises(UserError, match="split"):
        load(split)


def test_what_cannot_be_prepared_is_the_users_error(monkeypatch, tmp_path):
    def fail(self, manager):
        raise OSError("the network\nis down")

    monkeypatch.setattr(TinyPictures, "_split_generators", fail)
    settings = config.build({"dataset": "tiny_pictures", "data_dir": str(tmp_path)})
    with pytest.raises(UserError, match=r"the network is down.*--data_dir"):
        datasets.load(settings.data, "train")


@pytest.mark.parametrize("channels", [1, 3])
def test_decode_gives_three_channels(channels):
    image = np.arange(24 * channels, dtype=np.uint8).reshape(4, 6, channels)
    decoded = decoding.decode(tf.io.encode_png(image))
    np.testing.assert_array_equal(decoded, np.broadcast_to(image, (4, 6, 3)))


def test_take_keeps_records_labels_and_names_together():
    source = dataclasses.replace(
        digits("test"), example_names=tuple(f"number {i}" for i in range(360))
    )
    index = np.array([5, 2, 9])
    taken = source.take(index)
    np.testing.assert_array_equal(taken.records, source.records[index])
    np.testing.assert_array_equal(taken.labels, source.labels[index])
    assert taken.example_names == ("number 5", "number 2", "number 9")


def test_both_kinds_can_be_planned_for(both):
    settings = config.build({"dataset": "tiny_pictures"})
    facts, same = (facts_of(settings, source, source) for source in both())
    assert facts == same
    assert facts.num_images == 30 and facts.class_counts == (10, 10, 10)
    assert facts.short_side == 4 and facts.is_gray


def test_labels_of_a_stream_are_read_without_its_images():
    def read(context):
        numbers = tf.data.Dataset.range(3)
        # A record like this one can't be brought from TensorFlow to Python.
        return numbers.map(lambda i: (tf.strings.as_string(i), tf.data.Dataset.range(1), i))

    ids, labels = Streamed("films", "train", tuple("abc"), str, read, 3, 3).example_ids()
    assert ids.tolist() == ["0", "1", "2"] and labels.tolist() == [0, 1, 2]


def test_files_of_a_stream_are_in_another_order_each_epoch(both, monkeypatch):
    monkeypatch.setattr(streamed_source, "SHUFFLE_BUFFER", 1)
    _, streamed = both("train[:10]+train[10:20]+train[20:]")  # as if of three files

    def ids(source, start, end):
        elements = source.shuffled(0, start, 1, tf.distribute.InputContext())
        return [int(number) for _, number, *_ in elements.take(end - start)]

    whole = ids(streamed, 0, 120)
    epochs = [whole[first : first + 30] for first in range(0, 120, 30)]
    assert all(set(epoch) == set(epochs[0]) and len(set(epoch)) == 30 for epoch in epochs)
    assert len({epoch[0] for epoch in epochs}) > 1
    assert ids(streamed, 70, 120) == whole[70:]
    first, last = (set(ids(cut, 0, 60)) for cut in (streamed.at_most(25), streamed.after(25)))
    assert len(first) == 25 and last == set(whole) - first
