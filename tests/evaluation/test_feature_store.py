"""Examples have fingerprints, streams can be picked from, and features are kept on disk."""

import dataclasses

import numpy as np
import tensorflow as tf

from tf_simclr.config.data_sections import DataConfig
from tf_simclr.data import datasets
from tf_simclr.data.streamed_source import Streamed
from tf_simclr.evaluation.feature_store import FeatureStore, in_memory
from tf_simclr.runs import files as run_files


def test_other_examples_have_another_fingerprint():
    data = DataConfig(dataset="digits")
    source = datasets.load(data, "test")
    changed = source.records.copy()
    changed[3, 2, 2, 0] += 1
    sources = [
        source,
        source.take(np.arange(5)),
        source.without_labels(),
        dataclasses.replace(source, records=changed),
        datasets.load(data, "train"),
    ]
    assert len({other.fingerprint() for other in sources}) == 5
    assert source.fingerprint() == datasets.load(data, "test").fingerprint()


def test_another_file_has_another_fingerprint(tmp_path):
    first, second, third, *_ = datasets.load(DataConfig(dataset="digits"), "test").records
    tf.io.write_file(str(tmp_path / "a/1.png"), tf.io.encode_png(first))
    tf.io.write_file(str(tmp_path / "b/1.png"), tf.io.encode_png(second))
    folder = DataConfig(dataset=f"folder:{tmp_path}")
    before = datasets.load(folder, "train").fingerprint()
    tf.io.write_file(str(tmp_path / "a/1.png"), tf.io.encode_png(third))
    assert datasets.load(folder, "train").fingerprint() != before


def test_examples_of_a_stream_are_picked():
    """By position, without decoding the others."""
    source = datasets.load(DataConfig(dataset="digits"), "test")
    keys = [str(i) for i in range(360)]

    def read(context):
        return tf.data.Dataset.from_tensor_slices((keys, source.records, source.labels))

    stream = Streamed("digits", "test", source.class_names, source.decode, read, 360, 360)
    index = np.array([3, 50, 359])
    for examples in (source, stream):
        records, labels = zip(*examples.pick(index).as_numpy_iterator())
        np.testing.assert_array_equal(records, source.records[index])
        np.testing.assert_array_equal(labels, source.labels[index])
        assert examples.names_of(index) == ["3", "50", "359"]


class Counted:
    """Computes features, and counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self, make=in_memory):
        self.calls += 1
        array = make("trained.h", (3, 2), np.float32)
        array[:] = 1
        return {"trained.h": array}


def is_kept(name):
    return True


def test_what_is_kept_is_loaded(tmp_path):
    store = FeatureStore(tmp_path)
    store.compute("test", "weights 1", Counted(), is_kept)
    assert store.load("test", "weights 1")["trained.h"].sum() == 6
    assert store.load("test", "weights 2") is None
    (tmp_path / "test" / run_files.FEATURES_KEY).write_text("{")
    assert store.load("test", "weights 1") is None


def test_features_that_cannot_be_stored_are_computed(tmp_path, monkeypatch, log):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    store, compute = FeatureStore(tmp_path), Counted()
    assert store.compute("test", "weights 1", compute, is_kept)["trained.h"].sum() == 6
    assert "the features are not kept (No space left on device)" in log.text
    assert store.load("test", "weights 1") is None and compute.calls == 2
