"""Label subsets: balanced, seeded, the same for all readers; no other label reaches training."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tf_simclr import config
from tf_simclr.data import datasets, label_subset, mixture, pipeline
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.errors import UserError

LABELS = np.repeat([0, 1, 2, -1], [100, 40, 3, 20])


def data(**flags):
    return config.build({"dataset": "digits", **flags}).data


@hypothesis_settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.integers(-1, 3), min_size=1, max_size=60), st.floats(0.01, 1), st.integers(0, 5))
def test_a_fraction_keeps_the_same_share_of_each_class(all_labels, fraction, seed):
    all_labels = np.array(all_labels)
    chosen = label_subset.choose(all_labels, fraction, 0, seed)
    assert np.all(np.diff(chosen) > 0) and np.all(all_labels[chosen] >= 0)
    for label in set(all_labels) - {-1}:
        kept, total = np.sum(all_labels[chosen] == label), np.sum(all_labels == label)
        assert kept >= 1 and (abs(kept - fraction * total) <= 0.5 or kept == 1)


def test_so_many_of_each_class():
    chosen = label_subset.choose(LABELS, 1.0, 3, seed=0)
    np.testing.assert_array_equal(np.bincount(LABELS[chosen]), [3, 3, 3])


def test_more_than_a_class_has(log):
    """All that it has are used, and the class is named."""
    chosen = label_subset.choose(LABELS, 1.0, 5, seed=0)
    np.testing.assert_array_equal(np.bincount(LABELS[chosen]), [5, 5, 3])
    records = np.zeros((len(LABELS), 1))
    source = Indexed("s", "train", ("ant", "bee", "cow"), None, records, LABELS)
    restricted, subset = label_subset.restrict(source, data(labels_per_class=5), 0)
    assert restricted.num_labeled == len(subset["ids"]) == 13
    assert "1 class with fewer than --labels_per_class=5 labels" in log.text
    assert "of which all are used: cow (3)" in log.text


def test_the_seed_decides():
    first, same, other = (label_subset.choose(LABELS, 0.1, 0, seed).tolist() for seed in (0, 0, 1))
    assert first == same != other


def test_the_choice_does_not_depend_on_earlier_random_numbers():
    first = label_subset.choose(LABELS, 0.1, 0, seed=1)
    np.random.seed(3)
    label_subset.choose(LABELS, 0.3, 0, seed=9)
    np.testing.assert_array_equal(label_subset.choose(LABELS, 0.1, 0, seed=1), first)


def test_the_choice_in_a_class_does_not_depend_on_the_other_classes():
    chosen = label_subset.choose(LABELS, 0.1, 0, seed=1)
    chosen_alone = label_subset.choose(np.where(LABELS == 1, 1, -1), 0.1, 0, seed=1)
    np.testing.assert_array_equal(chosen_alone, chosen[LABELS[chosen] == 1])


def test_all_labels_need_no_subset():
    source = datasets.load(data(), "train")
    assert label_subset.restrict(source, data(), 0) == (source, None)


def test_the_pipeline_yields_only_the_chosen_labels():
    source = datasets.load(data(), "train").at_most(60)
    restricted, subset = label_subset.restrict(source, data(labels_per_class=2), 5)
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")

    def example(picture, label, seed, index, constant):
        return {"image": picture.whole(), "label": label}

    batch_parts = [mixture.BatchPart(restricted, 20)]
    batches = pipeline.training_batches(batch_parts, example, 0, 0, strategy)
    labels = {}
    for batch in itertools.islice(batches, 3):
        for image, label in zip(batch["image"].numpy(), batch["label"]):
            labels[image.tobytes()] = int(label)
    expected_labels = np.where(np.isin(np.arange(60), subset["ids"]), source.labels, -1)
    contents = [record.tobytes() for record in source.records]
    assert labels == dict(zip(contents, expected_labels.tolist()))
    assert restricted.num_labeled == len(subset["ids"]) == 20
    np.testing.assert_array_equal(restricted.labeled().labels, source.labels[subset["ids"]])


def test_a_written_subset_is_used_again_whatever_the_seed():
    source = datasets.load(data(), "train")
    few = data(label_fraction=0.02)
    first, subset = label_subset.restrict(source, few, 5)
    second, second_subset = label_subset.restrict(source, few, 6, [subset])
    assert second_subset == subset
    np.testing.assert_array_equal(second.labels, first.labels)


def test_another_choice_than_that_of_the_start(log):
    """The line names the flags that the start had otherwise, and only those."""
    source = datasets.load(data(), "train")
    _, subset = label_subset.restrict(source, data(label_fraction=0.1), 5)
    few = data(labels_per_class=2)
    label_subset.restrict(source, few, 5, [subset])
    line = "chose its labels with --label_fraction=0.1 --labels_per_class=0: another choice"
    assert line in log.text


def test_a_subset_of_the_labels_of_another_table(log):
    """It says nothing of these labels; an older file does not say which labels it is of."""
    source = datasets.load(data(), "train")
    _, subset = label_subset.restrict(source, data(labels="species.csv", labels_per_class=2), 5)
    question = label_subset.question_of(data(labels="sex.csv", labels_per_class=2))
    assert label_subset.matching([subset], question) is None
    label_subset.restrict(source, data(labels="sex.csv", labels_per_class=2), 5, [subset])
    assert "chose its labels with --labels=species.csv: another choice" in log.text
    del subset["labels"]
    assert label_subset.matching([subset], question) == subset
    label_subset.restrict(source, data(labels="sex.csv", labels_per_class=3), 5, [subset])
    assert "chose its labels with --labels_per_class=2: another choice" in log.text


def test_a_table_under_another_name(tmp_path):
    """It is the same table with an absolute path, and another one with other columns."""
    (tmp_path / "labels.csv").write_text("file,label,kind\n")
    dataset = f"folder:{tmp_path}"

    def question(labels):
        return label_subset.question_of(data(dataset=dataset, labels=labels, labels_per_class=2))

    subset = {**question("labels.csv"), "ids": []}
    absolute = question(f"{tmp_path}/labels.csv")
    assert label_subset.matching([subset], absolute) == subset
    (tmp_path / "other.csv").write_text("file,label\n")
    assert label_subset.matching([subset], question("other.csv")) is None
    assert label_subset.matching([subset], question("labels.csv:label=kind")) is None


def test_labels_wanted_of_data_without_any():
    source = datasets.load(data(), "train").with_labels_of([])
    with pytest.raises(UserError, match="has no labels"):
        label_subset.restrict(source, data(label_fraction=0.5), 0)


def test_chosen_examples_that_are_gone(rng):
    """Better an error than fewer labels than the run says it uses."""
    labels = np.array([0, 1, 0, 1])
    source = Indexed("s", "train", ("a", "b"), None, np.zeros((4, 1)), labels)
    with pytest.raises(UserError, match=r"1 of the 2 examples .* e.g. 7"):
        source.with_labels_of([1, 7])
