"""The compiled step: micro-batches, recomputed activations, loops and XLA give the same."""

import itertools
import math
import types

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.training import Training, values_of
from tf_simclr.data import pipeline
from tf_simclr.errors import UserError
from tf_simclr.models import layers, resnet
from tf_simclr.training import loop, train_step
from tf_simclr.training.experiment import build_experiment

VARIANTS = [
    {"train_mode": "pretrain"},
    {"memory_size": 20},
    {"train_mode": "finetune", "ft_proj_selector": 1},
    {"train_mode": "distill", "distill_alpha": 0.5},
    {"pretext": "counting"},
]
SGD = {"optimizer": "momentum", "learning_rate": 0.1}


@pytest.fixture(autouse=True)
def _shallow(shallow):
    """One block in all: nothing here depends on the depth."""


@pytest.fixture
def inference(monkeypatch):
    """Batch norm uses its moving statistics, so that examples depend on others only by the loss."""
    call = layers.BatchNorm.call
    monkeypatch.setattr(
        layers.BatchNorm, "call", lambda self, x, training=False: call(self, x, training=False)
    )


def compare(one, other, atol=1e-5):
    for path, value in values_of(one.objective).items():
        np.testing.assert_allclose(
            values_of(other.objective)[path], value, rtol=1e-5, atol=atol, err_msg=path
        )


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_micro_batches_give_the_gradient_of_the_batch(settings, inference, variant):
    whole, parts = (
        Training(settings(**{**SGD, "learning_rate": 1e-3}, **variant, accumulate_steps=steps))
        for steps in (1, 4)
    )
    before = values_of(whole.objective)
    (mine,), (other,) = whole.run(1), parts.run(1)
    assert mine.keys() == other.keys()
    for name in mine.keys() - {
        "contrast_acc"
    }:  # with untrained statistics the embeddings are all but equal, and which is next is rounding
        assert other[name] == pytest.approx(mine[name], rel=1e-5, abs=1e-5), name
    assert any(np.any(before[v.path] != v.numpy()) for v in whole.objective.trainable_variables)
    compare(whole, parts)


@pytest.mark.parametrize("variant", VARIANTS[1:3], ids=str)
def test_micro_batches_on_two_replicas(settings, two_replicas, variant):
    """The same weights on both replicas, and those of one replica with the same micro-batches."""
    options = settings(**SGD, **variant, accumulate_steps=2)
    one, two = Training(options), Training(options, two_replicas)
    batch = next(
        iter(pipeline.training_batches(one.batch_parts, one.objective.example, 0, 0, one.strategy))
    )
    # Micro-batch i of the global batch has to be micro-batch i of each replica: 0 1 4 5 | 2 3 6 7.
    mixed = {name: tf.gather(value, [0, 1, 4, 5, 2, 3, 6, 7]) for name, value in batch.items()}
    halves = {
        name: two_replicas.experimental_distribute_values_from_function(
            lambda context, value=value: tf.split(value, 2)[context.replica_id_in_sync_group]
        )
        for name, value in batch.items()
    }
    expected, found = one.step(mixed), two.step(halves)
    for name in found.keys() - {"embedding_std"}:  # of each replica's embeddings
        assert found[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-5), name
    for path, value in values_of(one.objective).items():
        if "memory_queue" not in path:  # the same keys in another order
            np.testing.assert_allclose(
                values_of(two.objective)[path], value, rtol=1e-4, atol=1e-5, err_msg=path
            )
    for v in two.objective.variables:
        copies = [copy.numpy() for copy in v.value.values]
        np.testing.assert_array_equal(copies[0], copies[1], err_msg=v.path)


@pytest.mark.parametrize("variant", VARIANTS[1:3], ids=str)
def test_each_micro_batch_counts_once_in_batch_norm(settings, variant):
    parts, expected = (
        Training(settings(learning_rate=0, **variant, accumulate_steps=steps)) for steps in (2, 1)
    )
    parts.run(1)
    batch = next(
        iter(
            pipeline.training_batches(
                expected.batch_parts, expected.objective.example, 0, 0, expected.strategy
            )
        )
    )
    for half in (slice(0, 4), slice(4, 8)):
        micro = {name: value[half] for name, value in batch.items()}
        images = expected.objective.images(micro)
        expected.objective.outputs(micro, images, True)
        expected.objective.targets(micro, images, True)
    for path, value in values_of(expected.objective).items():
        if "moving" in path:
            np.testing.assert_allclose(
                values_of(parts.objective)[path], value, atol=1e-5, err_msg=path
            )


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_micro_batches_in_half_precision(settings, precision):
    training = Training(settings(precision=precision, accumulate_steps=2))
    if precision == "float16":
        training.optimizer.dynamic_scale.assign(2.0**4)
    before = values_of(training.objective)
    assert all(math.isfinite(value) for row in training.run(2) for value in row.values())
    assert any(
        np.any(before[path] != value)
        for path, value in values_of(training.objective).items()
        if "kernel" in path
    )


def test_a_batch_that_has_no_such_parts(settings):
    with pytest.raises(
        UserError,
        match=r"--accumulate_steps=3: --train_batch_size=8 can't be split .*, "
        "e.g. --train_batch_size=9",
    ):
        build_experiment(settings(accumulate_steps=3))


@pytest.mark.parametrize(
    "variant", [{}, {"sk_ratio": 0.0625, "resnet_depth": 50}, {"memory_size": 20}], ids=str
)
def test_recomputed_activations(settings, monkeypatch, variant):
    """The same weights and statistics, from more convolutions."""
    monkeypatch.setitem(resnet.FAMILY, 50, (resnet.FAMILY[50][0], (1,)))
    kept, again = (
        Training(settings(**SGD, **variant, rematerialize=choice)) for choice in ("none", "block")
    )
    for mine, other in zip(kept.run(2), again.run(2), strict=True):
        assert mine == pytest.approx(other, rel=1e-4)
    compare(kept, again)
    assert convolutions(again) > convolutions(kept)


def convolutions(training):
    """How many convolutions forward there are in the compiled step."""
    batch = next(
        iter(
            pipeline.training_batches(
                training.batch_parts, training.objective.example, 0, 0, training.strategy
            )
        )
    )
    graph = training.step.one.get_concrete_function(batch).graph.as_graph_def()
    nodes = itertools.chain(graph.node, *(function.node_def for function in graph.library.function))
    return sum(node.op == "Conv2D" for node in nodes)


@pytest.mark.parametrize("replicas", [1, 2])
def test_steps_in_a_loop(settings, two_replicas, replicas):
    options = settings(**SGD)
    strategy = two_replicas if replicas == 2 else None
    single, looped = Training(options, strategy), Training(options, strategy)
    expected = single.run(5)
    batches = iter(
        pipeline.training_batches(
            looped.batch_parts, looped.objective.example, 0, 0, looped.strategy
        )
    )
    found = looped.step.loop(batches, 2) + looped.step.loop(batches, 3)
    assert [row.keys() for row in found] == [row.keys() for row in expected]
    for mine, other in zip(found, expected):
        assert mine == pytest.approx(other, rel=1e-4, abs=1e-5)
    compare(single, looped)
    assert looped.step.many.experimental_get_tracing_count() == 1
    assert single.step.one.experimental_get_tracing_count() == 1  # after five steps


def test_xla_gives_the_same(settings):
    plain, compiled = (Training(settings(**SGD, jit_compile=choice)) for choice in ("auto", "true"))
    for mine, other in zip(plain.run(2), compiled.run(2), strict=True):
        assert mine == pytest.approx(other, rel=1e-3, abs=1e-4)
    compare(plain, compiled, atol=1e-3)


def test_xla_is_for_one_replica(two_replicas):
    one = tf.distribute.get_strategy()
    assert train_step.uses_xla("true", one)
    assert not train_step.uses_xla("auto", one)  # a CPU
    assert not train_step.uses_xla("false", one)
    assert not train_step.uses_xla("auto", two_replicas)
    for strategy, parts in ((two_replicas, 1), (one, 2)):
        with pytest.raises(UserError, match=r"--jit_compile=true: .* leave it at auto"):
            train_step.uses_xla("true", strategy, parts)


def test_share_of_the_time_that_is_waited(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(loop, "time", types.SimpleNamespace(monotonic=lambda: now[0]))

    def passing(seconds, value):
        now[0] += seconds
        return value

    batches = types.SimpleNamespace(after=lambda step: passing(1.0 + step, 1.0 + step))
    steps = loop.Steps(lambda batch: passing(3.0, {"total_loss": 1.0}), batches)
    for done, seconds, share in ((0, 1.0, 0.25), (2, 3.0, 0.5)):
        assert steps.take(done, 1) == (seconds, [{"total_loss": 1.0, "data_time": share}])
