"""Labeled and unlabeled images in one batch: their numbers in each step, on each worker."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example as hypothesis_example
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tf_simclr import config
from tf_simclr.data import datasets, mixture, pipeline
from tf_simclr.data.image import DecodedImage
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.mixture import batch_parts
from tf_simclr.errors import UserError


def numbers(name, start, count, labeled=None):
    """A source whose images and labels are numbers; the first `labeled` have a label."""
    labels = np.arange(start, start + count)
    known = np.where(np.arange(count) < (count if labeled is None else labeled), labels, -1)
    return Indexed(
        name,
        "train",
        tuple(map(str, range(200))),
        lambda record: DecodedImage(tf.reshape(record, [1, 1, 1])),
        labels,
        known,
    )


def example(picture, label, seed, index, constant):
    values = {
        "number": picture.whole()[0, 0, 0],
        "label": label,
        "random": tf.random.stateless_uniform([], seed),
    }
    return values if constant is None else {**values, "constant": constant}


def batches(given_parts, count, start=0, strategy=None, seed=0):
    data = pipeline.training_batches(
        given_parts, example, seed, start, strategy or tf.distribute.OneDeviceStrategy("CPU:0")
    )
    return [
        {name: value.numpy() for name, value in batch.items()}
        for batch in itertools.islice(data, count)
    ]


@hypothesis_settings(deadline=None)
@hypothesis_example(1, 0, 1, 5e-324, 2, 1)
@hypothesis_example(1, 0, 1, 1e-300, 2, 1)
@given(
    st.integers(1, 50),
    st.integers(0, 50),
    st.integers(1, 80),
    st.floats(0, 20),
    st.integers(2, 300),
    st.sampled_from([1, 2, 4]),
)
def test_shares(labeled, unlabeled, more, ratio, per_replica, replicas):
    source = numbers("s", 0, labeled + unlabeled, labeled)
    try:
        shares = batch_parts(
            source,
            numbers("u", 100, more).without_labels(),
            ratio,
            per_replica * replicas,
            replicas,
        )
    except UserError as error:
        assert "--train_batch_size=" in str(error) or ratio < 1e-6
        return
    sizes = [part.batch_size for part in shares]
    assert sum(sizes) == per_replica * replicas and all(
        size > 0 and size % replicas == 0 for size in sizes
    )
    if ratio:
        assert shares[0].source.num_labeled == shares[0].source.num_examples == labeled
        assert all(part.source.num_labeled == 0 for part in shares[1:])
        assert sum(part.source.num_examples for part in shares) == labeled + unlabeled + more
        assert abs(sizes[0] / replicas - per_replica / (1 + ratio)) <= 1
    else:
        assert (
            abs(
                sizes[0] / replicas
                - per_replica * (labeled + unlabeled) / (labeled + unlabeled + more)
            )
            <= 1
        )


def test_one_source_alone_is_one_part():
    source = numbers("s", 0, 10, 3)
    assert batch_parts(source, None, 0.0, 4, 1) == [mixture.BatchPart(source, 4)]


def test_every_batch_has_its_share_of_labels():
    shares = batch_parts(numbers("s", 0, 20, 5), numbers("u", 100, 40).without_labels(), 3.0, 8, 1)
    seen = batches(shares, 30)
    assert all(np.sum(batch["label"] >= 0) == 2 for batch in seen)
    assert all(np.all(batch["number"][:2] < 5) for batch in seen)
    for batch in seen:
        np.testing.assert_array_equal(
            batch["label"], np.where(batch["number"] < 5, batch["number"], -1)
        )
    assert {n for batch in seen for n in batch["number"]} == {*range(20), *range(100, 140)}


def test_an_unlabeled_dataset_never_reveals_its_labels():
    shares = batch_parts(numbers("s", 0, 10), numbers("u", 100, 10).without_labels(), 0.0, 4, 1)
    for batch in batches(shares, 10):
        assert (
            np.all((batch["label"] >= 0) == (batch["number"] < 100))
            and np.sum(batch["number"] < 100) == 2
        )


def test_continues_where_it_was():
    shares = batch_parts(numbers("s", 0, 20, 5), None, 1.0, 4, 1)
    for batch, resumed in zip(batches(shares, 8)[5:], batches(shares, 3, start=5), strict=True):
        for name in batch:
            np.testing.assert_array_equal(batch[name], resumed[name])


def test_parts_have_random_numbers_of_their_own():
    shares = [mixture.BatchPart(numbers("s", 0, 4), 4), mixture.BatchPart(numbers("s", 0, 4), 4)]
    random = np.concatenate([batch["random"] for batch in batches(shares, 3)])
    assert len(set(random)) == len(random)


def test_each_replica_gets_the_same_share(two_replicas):
    shares = batch_parts(numbers("s", 0, 20, 5), None, 3.0, 8, 2)
    batch = next(iter(pipeline.training_batches(shares, example, 0, 0, two_replicas)))
    assert [
        int(np.sum(copy.numpy() >= 0))
        for copy in two_replicas.experimental_local_results(batch["label"])
    ] == [1, 1]


def test_constants_go_with_their_example():
    part = mixture.BatchPart(numbers("s", 0, 20), 4, np.arange(20.0)[:, None] * [1, 10])
    for batch in batches([part], 10):
        np.testing.assert_array_equal(batch["constant"], batch["number"][:, None] * [1, 10])


@pytest.mark.parametrize(
    ("labeled", "ratio", "batch", "said"),
    [
        (0, 1.0, 8, "0 with and 10 without"),
        (10, 1.0, 8, "10 with and 0 without"),
        (5, 7.0, 4, "--train_batch_size=8 is enough"),
    ],
)
def test_nothing_to_mix(labeled, ratio, batch, said):
    with pytest.raises(UserError, match=said):
        batch_parts(numbers("s", 0, 10, labeled), None, ratio, batch, 1)


def test_unlabeled_digits():
    data = config.build(
        {"dataset": "digits", "unlabeled_dataset": "digits", "unlabeled_split": "test"}
    ).data
    source = datasets.load_unlabeled(data)
    assert source.num_examples == 360 and source.num_labeled == 0
    assert datasets.load_unlabeled(config.build({"dataset": "digits"}).data) is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"unlabeled_dataset": "folder:/none/there"}, "no such folder"),
        ({"unlabeled_dataset": "digit"}, "--unlabeled_dataset=digit: .*'digits'"),
        (
            {"unlabeled_dataset": "digits", "unlabeled_split": "tets"},
            "--unlabeled_split=tets: .*'test'",
        ),
    ],
)
def test_wrong_unlabeled_dataset(values, said):
    with pytest.raises(UserError, match=said):
        datasets.load_unlabeled(config.build({"dataset": "digits", **values}).data)
