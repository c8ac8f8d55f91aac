"""The compiled step: micro-batches, recomputed activations, loops and XLA give the same."""

import itertools
import math
import types

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.eager import eagerly
from tests.helpers.training import (
    Training,
    assert_replicas_agree,
    split_batch,
    values_of,
)
from tf_simclr.errors import UserError
from tf_simclr.models import layers, resnet
from tf_simclr.objectives.supervised import LABEL_METRICS
from tf_simclr.training import batches
from tf_simclr.training.experiment import build_experiment
from tf_simclr.training.train_step import uses_xla

VARIANTS = [
    {"train_mode": "pretrain"},
    {"memory_size": 20},
    {"train_mode": "finetune", "ft_proj_selector": 1},
    {"train_mode": "distill", "distill_alpha": 0.5},
    {"pretext": "counting"},
    {"pretext": "vicreg"},
    {"pretext": "byol"},
    {"pretext": "moco"},
    {"pretext": "lejepa"},
    {"pretext": "instance_discrimination", "nce_negatives": 20},
    {"pretext": "pirl"},
    {"pretext": "cmc", "nce_negatives": 20},
    {"pretext": "cpc"},
    {"pretext": "colorization"},
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


def assert_same_weights(training, expected, atol=1e-5):
    values = values_of(training.objective)
    for path, value in values_of(expected.objective).items():
        np.testing.assert_allclose(values[path], value, rtol=1e-5, atol=atol, err_msg=path)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_micro_batches_give_the_gradient_of_the_batch(settings, inference, request, variant):
    if variant != {"train_mode": "pretrain"}:  # a step is sooner done than traced
        request.getfixturevalue("eager")
    flags = {**SGD, **variant, "learning_rate": 1e-3}
    whole = Training(settings(**flags))
    split = Training(settings(**flags, accumulate_steps=4))
    before = values_of(whole.objective)
    steps = 2 if variant == {"pretext": "moco"} else 1  # its queue is empty in the first one
    *_, expected = whole.run(steps)
    *_, metrics = split.run(steps)
    assert metrics.keys() == expected.keys()
    # With untrained statistics the embeddings are all but equal: which is nearest is rounding.
    of_parts = set() if whole.objective.couples_examples else {"embedding_std"}
    for name in expected.keys() - {"contrast_acc", "pretext_acc", *of_parts}:
        assert metrics[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-5), name
    assert any(np.any(before[v.path] != v.numpy()) for v in whole.objective.trainable_variables)
    assert_same_weights(split, whole)


def test_labels_of_some_parts_alone(settings, inference, eager):
    """Parts without labels are no part of the accuracy of the labels."""
    flags = {**SGD, "train_mode": "distill", "learning_rate": 0}
    whole = Training(settings(**flags))
    split = Training(settings(**flags, accumulate_steps=4))
    batch = whole.first_batch()
    is_first = tf.range(len(batch["label"])) < 3
    batch["label"] = tf.where(is_first, batch["label"], -1)
    expected, metrics = whole.step(batch), split.step(batch)
    for name in LABEL_METRICS:
        assert metrics[name] == pytest.approx(expected[name], rel=1e-5), name


@pytest.mark.parametrize("variant", VARIANTS[1:3], ids=str)
def test_micro_batches_on_two_replicas(settings, two_replicas, request, variant):
    """The same weights on both replicas, and those of one replica with the same micro-batches."""
    if "memory_size" in variant:  # takes much longer to trace than the other
        request.getfixturevalue("eager")
    flags = {**SGD, **variant, "learning_rate": 0.01}
    options = settings(**flags, accumulate_steps=2)
    single, distributed = Training(options), Training(options, two_replicas)
    batch = single.first_batch()
    # Micro-batch i of the global batch has to be micro-batch i of each replica: 0 1 4 5 | 2 3 6 7.
    mixed = {name: tf.gather(value, [0, 1, 4, 5, 2, 3, 6, 7]) for name, value in batch.items()}
    expected = single.step(mixed)
    metrics = distributed.step(split_batch(two_replicas, batch))
    for name in metrics.keys() - {"embedding_std"}:  # of each replica's embeddings
        assert metrics[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-5), name
    values = values_of(distributed.objective)
    for path, value in values_of(single.objective).items():
        if "memory_queue" not in path:  # the same keys in another order
            np.testing.assert_allclose(values[path], value, rtol=1e-4, atol=1e-5, err_msg=path)
    assert_replicas_agree(distributed.objective)


@pytest.mark.parametrize("variant", VARIANTS[1:3], ids=str)
def test_each_micro_batch_counts_once_in_batch_norm(settings, eager, variant):
    split = Training(settings(learning_rate=0, **variant, accumulate_steps=2))
    split.run(1)
    expected = Training(settings(learning_rate=0, **variant))
    batch = expected.first_batch()
    for half in (slice(0, 4), slice(4, 8)):
        micro_batch = {name: value[half] for name, value in batch.items()}
        images = expected.objective.images(micro_batch)
        expected.objective.outputs(micro_batch, images, True)
        expected.objective.targets(micro_batch, images, True)
    values = values_of(split.objective)
    for path, value in values_of(expected.objective).items():
        if "moving" in path:
            np.testing.assert_allclose(values[path], value, atol=1e-5, err_msg=path)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_micro_batches_in_half_precision(settings, request, precision):
    if precision == "bfloat16":  # without a scale of the loss: nothing else to compile
        request.getfixturevalue("eager")
    training = Training(settings(precision=precision, accumulate_steps=2))
    if precision == "float16":
        training.optimizer.dynamic_scale.assign(2.0**4)
    before = values_of(training.objective)
    for metrics in training.run(2):
        assert all(map(math.isfinite, metrics.values()))
    after = values_of(training.objective)
    assert any(np.any(before[path] != after[path]) for path in before if "kernel" in path)


def test_a_batch_that_has_no_such_micro_batches(settings):
    message = r"--accumulate_steps=3: --train_batch_size=8 can't be split .*=9"
    with pytest.raises(UserError, match=message):
        build_experiment(settings(accumulate_steps=3))


@pytest.mark.parametrize("what", ["norm", "block"])
@pytest.mark.parametrize(
    "variant",
    [{"memory_size": 20}, {"sk_ratio": 0.0625, "resnet_depth": 50, "train_mode": "supervised"}],
    ids=str,
)
def test_recomputed_activations(settings, monkeypatch, variant, what):
    """The same weights and statistics, from a graph with more convolutions."""
    monkeypatch.setitem(resnet.FAMILY, 50, (resnet.FAMILY[50][0], (1,)))
    kept = Training(settings(**SGD, **variant, rematerialize="none"))
    recomputed = Training(settings(**SGD, **variant, rematerialize=what))
    for batch in itertools.islice(kept.batches(), 2):
        assert recomputed.step(batch) == pytest.approx(kept.step(batch), rel=1e-4)
    assert_same_weights(recomputed, kept)
    assert convolutions(recomputed, batch) > convolutions(kept, batch)


def convolutions(training, batch):
    """How many convolutions forward there are in the compiled step."""
    function = training.step._one.get_concrete_function(batch)
    graph = function.graph.as_graph_def()
    nodes = itertools.chain(graph.node, *(function.node_def for function in graph.library.function))
    return sum(node.op == "Conv2D" for node in nodes)


@pytest.mark.parametrize("replicas", [1, 2])
def test_steps_in_a_loop(settings, two_replicas, replicas):
    options = settings(**SGD, train_mode="supervised")  # which is the least to trace
    strategy = two_replicas if replicas == 2 else None
    single, looped = Training(options, strategy), Training(options, strategy)
    expected_history = single.run(5)
    looped_batches = looped.batches()
    history = [*looped.step.loop(looped_batches, 2), *looped.step.loop(looped_batches, 3)]
    for metrics, expected in zip(history, expected_history, strict=True):
        assert metrics.keys() == expected.keys()
        assert metrics == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert_same_weights(looped, single)
    assert looped.step._many.experimental_get_tracing_count() == 1
    assert single.step._one.experimental_get_tracing_count() == 1  # after five steps


def test_xla_gives_the_same(settings):
    flags = {**SGD, "proj_head_mode": "linear"}  # XLA takes long for each layer
    with eagerly():
        expected = Training(settings(**flags, jit_compile="auto"))
    compiled = Training(settings(**flags, jit_compile="true"))
    expected_history = expected.run(2)
    for metrics, expected_metrics in zip(compiled.run(2), expected_history, strict=True):
        assert metrics == pytest.approx(expected_metrics, rel=1e-3, abs=1e-4)
    assert_same_weights(compiled, expected, atol=1e-3)


def test_xla_is_for_one_replica(two_replicas):
    one_device = tf.distribute.get_strategy()
    assert uses_xla("true", one_device)
    assert not uses_xla("auto", one_device)  # a CPU
    assert not uses_xla("false", one_device)
    assert not uses_xla("auto", two_replicas)
    for strategy, num_micro_batches in ((two_replicas, 1), (one_device, 2)):
        with pytest.raises(UserError, match=r"--jit_compile=true: .* leave it at auto"):
            uses_xla("true", strategy, num_micro_batches)


def test_share_of_the_time_that_is_waited(monkeypatch):
    now = 0.0
    monkeypatch.setattr(batches, "time", types.SimpleNamespace(monotonic=lambda: now))

    class SlowBatches:
        def after(self, step):
            nonlocal now
            now += 1.0 + step
            return f"after {step}"

    def slow_step(batch):
        nonlocal now
        now += 3.0
        return {"total_loss": 1.0}

    runner = batches.StepRunner(slow_step, SlowBatches())
    for step, share in ((0, 0.25), (2, 0.5)):
        metrics = {"total_loss": 1.0, "data_time": share}
        assert runner.run(step, 1) == (f"after {step}", [metrics])
