"""Which example is at which position, and with which random numbers, depends on the seed alone."""

import itertools
import socket
import types

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tf_simclr import config
from tf_simclr.data import augment, data_service, mixture, pipeline, streamed_source
from tf_simclr.data.image import DecodedImage
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.errors import UserError

N = 22  # not a multiple of the batch sizes below
VIEW = config.build({"use_blur": False}).augment


class DistantTPU(tf.distribute.TPUStrategy):
    """Stands for a TPU at an address; at "" it is one of this machine."""

    def __init__(self, address):
        self.address = address

    @property
    def cluster_resolver(self):
        return types.SimpleNamespace(master=lambda: self.address)

    def distribute_datasets_from_function(self, make):
        return make(tf.distribute.InputContext())


class Workers:
    """Stands for the strategy of one of `count` workers, which each have `replicas` replicas."""

    def __init__(self, count=1, number=0, replicas=1):
        self.context = tf.distribute.InputContext(count, number, count * replicas)

    def distribute_datasets_from_function(self, make):
        return make(self.context)


def indexed(n=N):
    """Image i is grey, 10 * i at its left border, and has the label i."""
    grey = 10 * np.arange(n, dtype=np.uint8)[:, None, None, None]
    records = grey + np.arange(6, dtype=np.uint8)[:, None] + np.zeros([n, 6, 6, 3], np.uint8)
    names = tuple(map(str, range(n)))
    return Indexed("numbers", "train", names, DecodedImage, records, np.arange(n))


def streamed(n=N):
    every = indexed(n)

    def read(context, seed=None):
        data = tf.data.Dataset.range(n).map(
            lambda i: (tf.strings.as_string(i), tf.constant(every.records)[i], i)
        )
        return (
            data
            if context is None
            else data.shard(context.num_input_pipelines, context.input_pipeline_id)
        )

    return streamed_source.Streamed("numbers", "train", every.class_names, every.open, read, n, n)


KINDS = pytest.mark.parametrize("kind", [indexed, streamed])


def cheap(picture, label, seed, index=0, constant=None):
    """An example function that shows what it is given."""
    return {
        "label": label,
        "number": picture.whole()[0, 0, 0] // 10,
        "random": tf.random.stateless_uniform([2], seed),
    }


def view(picture, label, seed, index=0, constant=None):
    return {"label": label, **augment.pretrain_views(picture, seed, 8, VIEW)}


def train(source, count, batch=4, start=0, seed=0, example=cheap, strategy=None):
    """The next `count` batches from step `start` on."""
    data = pipeline.training_batches(
        [mixture.BatchPart(source, batch)], example, seed, start, strategy or Workers()
    )
    return list(itertools.islice(data.as_numpy_iterator(), count))


def join(batches):
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name in actual:
        np.testing.assert_array_equal(actual[name], expected[name])


@KINDS
def test_each_epoch_has_every_example_once_in_another_order(kind):
    labels = join(train(kind(), N, batch=4))["label"].reshape(4, N)  # 4 epochs
    np.testing.assert_array_equal(np.sort(labels, 1), np.broadcast_to(np.arange(N), (4, N)))
    assert len({tuple(order) for order in labels}) == 4
    assert all(np.any(order != np.arange(N)) for order in labels)


@KINDS
def test_images_keep_their_labels(kind):
    examples = join(train(kind(), 8))
    np.testing.assert_array_equal(examples["number"], examples["label"])


@KINDS
@pytest.mark.parametrize("start", [5, 6, 12])
def test_going_on_equals_not_having_stopped(kind, start):
    """The epoch ends in the middle of step 5 (from 0), the second in that of step 11."""
    whole = train(kind(), 15)
    assert_same(join(train(kind(), 15 - start, start=start)), join(whole[start:]))


def test_a_stream_goes_on_alike_with_a_buffer_smaller_than_the_epoch(monkeypatch):
    monkeypatch.setattr(streamed_source, "SHUFFLE_BUFFER", 5)
    assert_same(join(train(streamed(), 9, start=6)), join(train(streamed(), 15)[6:]))


def test_views_do_not_depend_on_parallelism(monkeypatch):
    results = []
    for num_calls in (1, 14):
        monkeypatch.setattr(pipeline, "_num_calls", lambda is_elsewhere, calls=num_calls: calls)
        results.append(join(train(indexed(), 8, example=view)))
    assert_same(*results)


@KINDS
def test_views_do_not_depend_on_the_batch_size(kind):
    four, six = join(train(kind(), 12, batch=4)), join(train(kind(), 8, batch=6))
    assert_same(four, six)


@KINDS
def test_the_order_does_not_depend_on_the_global_seed(kind):
    results = []
    for seed in (0, 1, 2):
        tf.random.set_seed(seed)
        results.append(join(train(kind(), 6)))
    assert_same(results[0], results[1])
    assert_same(results[0], results[2])


@KINDS
def test_another_seed_gives_other_orders_and_views(kind):
    first, same, other = (join(train(kind(), 6, seed=seed)) for seed in (3, 3, 4))
    assert_same(first, same)
    assert np.any(first["label"] != other["label"])
    assert not np.isin(first["random"], other["random"]).any()


@KINDS
def test_every_example_has_its_own_random_numbers_in_every_epoch(kind):
    random_numbers = join(train(kind(), 11, batch=4))["random"]
    assert len(np.unique(random_numbers[:, 0])) == len(random_numbers) == 44  # two epochs


def test_an_example_has_the_same_random_numbers_wherever_it_is():
    """Also where only few labels are used."""
    full = join(train(indexed(), 5))
    part = join(train(indexed().with_labels_of([3, 4]), 5))
    assert_same({**full, "label": 0}, {**part, "label": 0})
    np.testing.assert_array_equal(
        part["label"], np.where(np.isin(full["label"], [3, 4]), full["label"], -1)
    )


@pytest.mark.parametrize("replicas", [1, 2])
def test_two_workers_share_each_global_batch_of_one(replicas):
    whole = train(indexed(), 12, batch=8)
    per_worker = [
        train(indexed(), 12 * replicas, batch=8, strategy=Workers(2, number, replicas))
        for number in (0, 1)
    ]
    for step, batch in enumerate(whole):
        steps = slice(replicas * step, replicas * (step + 1))
        shares = [share for batches in per_worker for share in batches[steps]]
        assert_same(join(shares), batch)


def test_two_workers_go_on_alike():
    for number in (0, 1):
        whole = train(indexed(), 9, strategy=Workers(2, number))
        assert_same(
            join(train(indexed(), 4, start=5, strategy=Workers(2, number))), join(whole[5:])
        )


def test_two_workers_of_a_stream_see_every_example_once_an_epoch():
    workers = [Workers(2, number) for number in (0, 1)]
    per_worker = [join(train(streamed(), 22, batch=4, strategy=worker)) for worker in workers]
    for epoch in range(4):
        labels = [examples["label"][11 * epoch : 11 * (epoch + 1)] for examples in per_worker]
        np.testing.assert_array_equal(np.sort(np.concatenate(labels)), np.arange(N))


def test_replicas_get_parts_of_the_batch(two_replicas):
    whole_batches = train(indexed(), 3, batch=8)
    batches = iter(
        pipeline.training_batches([mixture.BatchPart(indexed(), 8)], cheap, 0, 0, two_replicas)
    )
    for expected in whole_batches:
        batch = {name: tf.concat(value.values, 0) for name, value in next(batches).items()}
        assert_same(batch, expected)


@hypothesis_settings(max_examples=8, deadline=None, derandomize=True)
@given(
    st.integers(1, 13),
    st.sampled_from([2, 8, 16]),
    st.sampled_from([1, 2]),
    st.sampled_from([indexed, streamed]),
)
def test_evaluation_has_every_example_once_in_whole_batches(n, batch, workers, kind):
    def example(image, label):
        return {"label": label, "number": image[0, 0, 0] // 10}

    steps, labels = -(-n // batch), []
    for number in range(workers):
        data = list(
            pipeline.evaluation_batches(
                kind(n), example, batch, Workers(workers, number)
            ).as_numpy_iterator()
        )
        assert (
            len(data) == steps
        )  # the same for all workers, or they would wait for each other for ever
        assert {len(b["label"]) for b in data} == {batch // workers}
        examples = join(data)
        assert examples["weight"].dtype == np.float32 and set(examples["weight"]) <= {0, 1}
        np.testing.assert_array_equal(
            examples["weight"], np.sort(examples["weight"])[::-1]
        )  # what fills up comes last
        np.testing.assert_array_equal(examples["number"], examples["label"])
        labels.append(examples["label"][examples["weight"] > 0])
        np.testing.assert_array_equal(
            examples["position"][examples["weight"] > 0], labels[-1]
        )  # by which several workers' rows are sorted
    np.testing.assert_array_equal(np.sort(np.concatenate(labels)), np.arange(n))


def test_evaluation_keeps_the_order_on_one_worker():
    data = pipeline.evaluation_batches(
        indexed(), lambda image, label: {"label": label}, 8, Workers()
    )
    examples = join(list(data.as_numpy_iterator()))
    np.testing.assert_array_equal(examples["label"][:N], np.arange(N))
    np.testing.assert_array_equal(examples["weight"], [1] * N + [0] * 2)


@KINDS
def test_nothing_searches_for_the_best_parallelism(kind):
    """Its thread may sleep for a minute, for which the end of a training would wait."""
    parts = [mixture.BatchPart(kind(), 4)] * 2
    training = pipeline.training_batches(parts, cheap, 0, 0, Workers())
    evaluation = pipeline.evaluation_batches(kind(), lambda image, label: {}, 4, Workers())
    assert not training.options().autotune.enabled
    assert not evaluation.options().autotune.enabled


@pytest.mark.parametrize("address", ["grpc://a:1", ""])
def test_the_host_of_a_distant_tpu_searches_for_its_own_parallelism(address, monkeypatch):
    """How many cores it has is not known here."""
    numbers = []

    def record(elements, prepare, batch_size, context, num_calls):
        numbers.append(num_calls)
        return elements

    monkeypatch.setattr(pipeline, "_batches", record)
    strategy = DistantTPU(address)
    parts = [mixture.BatchPart(indexed(), 4)]
    training = pipeline.training_batches(parts, cheap, 0, 0, strategy)
    evaluation = pipeline.evaluation_batches(indexed(), cheap, 4, strategy)
    is_distant = bool(address)
    assert training.options().autotune.enabled == is_distant
    assert evaluation.options().autotune.enabled == is_distant
    assert [number == tf.data.AUTOTUNE for number in numbers] == [is_distant] * 2


@pytest.mark.parametrize("numbers", [(0,), (1, 2)])
def test_fold_gives_each_combination_its_own_seed(numbers):
    seeds = [
        tuple(pipeline.fold_in(seed, *(n + shift for n in numbers)).numpy())
        for seed in (0, 1)
        for shift in (0, 1, 2**33)
    ]
    assert len(set(seeds)) == 6
    assert seeds[0] == tuple(pipeline.fold_in(0, *numbers).numpy())


@pytest.fixture
def cluster():
    dispatcher = tf.data.experimental.service.DispatchServer()
    configs = [
        tf.data.experimental.service.WorkerConfig(
            dispatcher_address=dispatcher.target.split("://")[1]
        )
        for _ in range(2)
    ]
    workers = [tf.data.experimental.service.WorkerServer(config) for config in configs]
    yield dispatcher.target
    del workers, dispatcher


@KINDS
def test_a_cluster_computes_each_batch_of_an_epoch_once(kind, cluster):
    batches = pipeline.training_batches(
        [mixture.BatchPart(kind(20), 4)], view, 0, 0, Workers(), cluster
    )
    expected = train(kind(20), 60, example=view)
    by_labels = {labels_of(batch): batch for batch in expected}
    first_epoch = {labels_of(batch) for batch in expected[:5]}
    received = []
    for batch in itertools.islice(batches.as_numpy_iterator(), 60):
        received.append(batch)
        keys = {labels_of(batch) for batch in received}
        is_whole = first_epoch <= keys or kind is streamed
        if len(received) >= 15 and is_whole:  # a worker may be ahead of another
            break
    assert all(batch["views"].shape == (4, 2, 8, 8, 3) for batch in received)
    for batch in received:
        assert_same(batch, by_labels[labels_of(batch)])
    if kind is indexed:  # of a stream each worker makes epochs of its own
        assert len(keys) == len(received) and first_epoch <= keys


def labels_of(batch):
    return tuple(batch["label"])


@pytest.mark.parametrize("address", ["grpc://localhost:1", "localhost:5000", "grpc://localhost"])
def test_a_cluster_that_is_not_there(address):
    check_that_none_is_there(address)


def test_a_cluster_of_an_unknown_name(monkeypatch):
    def create_connection(*address_and_timeout):
        raise socket.gaierror

    monkeypatch.setattr(socket, "create_connection", create_connection)
    check_that_none_is_there("grpc://no.such.host.invalid:5")


def check_that_none_is_there(address):
    with pytest.raises(UserError, match=f"--data_service={address}: no tf.data service there"):
        pipeline.training_batches(
            [mixture.BatchPart(indexed(), 4)], cheap, 0, 0, Workers(), address
        )


def test_a_source_that_is_too_large_for_a_cluster(monkeypatch):
    monkeypatch.setattr(data_service, "GRAPH_LIMIT", 100)
    with pytest.raises(UserError, match="--data_service=grpc://a:1: numbers, split train, holds"):
        pipeline.training_batches(
            [mixture.BatchPart(indexed(), 4)], cheap, 0, 0, Workers(), "grpc://a:1"
        )


def test_paths_are_sent_to_a_cluster_as_bytes(monkeypatch):
    paths = np.array(["/photos/1.png", "/photos/a longer name.png"])
    source = Indexed("photos", "train", (), str, paths, np.full(2, -1))
    parts = [mixture.BatchPart(source, 4)]
    monkeypatch.setattr(data_service, "GRAPH_LIMIT", sum(map(len, paths)) + source.labels.nbytes)
    with pytest.raises(UserError, match=r"no tf.data service there"):  # their size is accepted
        data_service.check("grpc://localhost:1", parts, 0)
    monkeypatch.setattr(data_service, "GRAPH_LIMIT", data_service.GRAPH_LIMIT - 1)
    with pytest.raises(UserError, match=r"MB of paths of files, .*; leave out --data_service"):
        data_service.check("grpc://localhost:1", parts, 0)


def test_what_was_computed_of_the_images_is_sent_to_a_cluster_too(monkeypatch):
    monkeypatch.setattr(data_service, "GRAPH_LIMIT", 10 * 2**20)
    part = mixture.BatchPart(indexed(), 4, np.zeros([N, 2**17], np.float32))
    with pytest.raises(UserError, match="holds 11 MB in memory, 11 of them computed ahead"):
        data_service.check("grpc://a:1", [part], 0)
