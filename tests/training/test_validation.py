"""Evaluation while training: held-out images, metrics, the best weights; no bit changes."""

import json
import math
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing import event_accumulator

import tf_simclr
from tests.helpers.configurations import TINY, parse_command_line
from tf_simclr import distribute
from tf_simclr.checkpoints import teacher
from tf_simclr.commands.stages import Stages
from tf_simclr.config.stages import combined_flags, relocated, sibling_runs
from tf_simclr.data import datasets, holdout
from tf_simclr.errors import UserError
from tf_simclr.training import loop, validation
from tf_simclr.training.experiment import build_experiment
from tf_simclr.training.validation import Monitor

IMAGES, LOOKS = (
    80,
    [3, 7],
)  # of the tests that train: 72 images are left to train on, an epoch has 3 steps
FEW = {
    "train_batch_size": 24,
    "train_steps": 0,
    "train_epochs": 2,
    "eval_every_epochs": 1,
    "eval_batch_size": 80,
}


@pytest.fixture
def few(shallow, eager, monkeypatch, settings):
    """A function: flags -> an experiment on 80 images, which does not take long."""
    make = datasets.SOURCES["digits"]
    monkeypatch.setitem(
        datasets.SOURCES,
        "digits",
        lambda data: {**make(data), "train": lambda: make(data)["train"]().take(np.arange(IMAGES))},
    )
    return lambda **values: build_experiment(settings(**{**FEW, **values}))


def record(experiment):
    return json.loads((experiment.directory.path / "best" / "best.json").read_text())


def saved(directory):
    """{key: value} of the newest checkpoint, apart from the time and how often it was saved."""
    reader = tf.train.load_checkpoint(str(directory))
    return {
        key: reader.get_tensor(key)
        for key in reader.get_variable_to_shape_map()
        if not key.startswith(("_", "save_counter", "seconds"))
    }


def assert_same(a, b):
    assert a.keys() == b.keys() and a
    for key, value in a.items():
        np.testing.assert_array_equal(b[key], value, err_msg=key)


def looks(experiment, monkeypatch, values, start=0):
    """Evaluates after the steps `values` {step: k-NN accuracy}, resumed at step `start`."""
    looking = Monitor(experiment, start)
    for step, value in values.items():
        monkeypatch.setattr(looking, "_figures", lambda value=value: {"knn_accuracy": value})
        experiment.checkpoints.step.assign(step)
        looking.look()


def stop_after(monkeypatch, step):
    """Has a training die after `step`; a function that ends this."""
    after = loop.Keeper.after

    def killed(self, now, last):
        after(self, now, last)
        if now == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop.Keeper, "after", killed)
    return lambda: monkeypatch.setattr(loop.Keeper, "after", after)


@hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(-1, 3), min_size=1, max_size=80), st.floats(0.01, 0.5), st.integers(0, 3)
)
def test_shares_that_are_held_out(labels, fraction, seed):
    """The same share with and without label, of each class to one example; none is empty."""
    labels = np.array(labels)
    chosen = holdout.choose(labels, fraction, seed)
    np.testing.assert_array_equal(chosen, holdout.choose(labels, fraction, seed))
    assert np.all(np.diff(chosen) > 0)
    for has_label in (True, False):
        members = np.flatnonzero((labels >= 0) == has_label)
        spare = len(members) - len(np.unique(labels[members]))
        assert (
            np.isin(members, chosen).sum() == min(max(1, round(fraction * len(members))), spare)
            if len(members)
            else True
        )
    counts = {
        label: (np.sum(labels == label), np.sum(labels[chosen] == label))
        for label in np.unique(labels)
    }
    assert all(taken < total for total, taken in counts.values())
    if all(total > 2 / fraction for label, (total, _) in counts.items() if label >= 0):
        assert all(abs(taken - fraction * total) <= 1.5 for total, taken in counts.values())


def images_of(source):
    return [image.tobytes() for image in source.records]


def test_nothing_held_out_is_trained_on(settings, shallow):
    """Neither by an objective nor in the bank of k-NN; together they have the labels asked for."""
    options = settings(labels_per_class=10, eval_every_epochs=1, holdout_fraction=0.2)
    experiment, again = build_experiment(options), build_experiment(options)
    source, held_out = experiment.data.train_source, experiment.data.held_out
    everything = datasets.load(options.data, "train")
    assert sorted(images_of(source) + images_of(held_out)) == sorted(images_of(everything))
    assert (held_out.num_examples, held_out.num_labeled, source.num_labeled) == (287, 20, 80)
    np.testing.assert_array_equal(np.bincount(held_out.labels[held_out.labels >= 0]), [2] * 10)
    assert experiment.data.batch_parts[0].source is source and experiment.data.num_images == 1150
    experiment.lock_directory()
    experiment.commit_directory()
    finetuning = build_experiment(
        settings(
            model_dir=f"{options.train.model_dir}_ft",
            checkpoint=options.train.model_dir,
            train_mode="finetune",
            labels_per_class=10,
            eval_every_epochs=2,
            holdout_fraction=0.2,
        )
    )
    for other in (again, finetuning):
        assert images_of(other.held_out) == images_of(held_out)
        np.testing.assert_array_equal(other.held_out.labels, held_out.labels)
    assert finetuning.num_images == 80
    assert build_experiment(settings(model_dir=f"{options.train.model_dir}_all")).held_out is None


def test_what_can_not_be_held_out(settings):
    data = settings().data
    single = datasets.load(data, "train").take([0, 1])
    with pytest.raises(UserError, match="every class keeps one"):
        holdout.split(single, 0.5, 0)
    stream = datasets.Streamed("s", "train", (), None, None, 10, 0)
    with pytest.raises(UserError, match="--cache_dataset=True or a smaller slice"):
        holdout.split(stream, 0.5, 0)


def slow_figures(experiment):
    """Every figure that is a criterion, image by image."""
    objective, drawn = (
        experiment.objective,
        validation.labeled_first(
            experiment.data.held_out, validation.MAX_HELD_OUT, experiment.settings.train.seed
        ),
    )

    def outputs(source):
        found = objective(
            tf.stack([objective.eval_example(image, 0)["image"] for image in source.records]),
            training=False,
        )
        return [found[name].numpy() for name in ("final_avg_pool", "logits_sup")]

    (bank, _), (test, logits) = outputs(experiment.data.train_source), outputs(drawn)
    right = 0
    for h, label in zip(test, drawn.labels, strict=True):
        cosine = bank @ h / np.linalg.norm(bank, axis=1) / np.linalg.norm(h)
        votes = np.zeros(10)
        for index in np.argsort(-cosine)[:20]:
            votes[experiment.data.train_source.labels[index]] += math.exp(cosine[index] / 0.1)
        right += votes.argmax() == label
    share = np.linalg.svd(test.astype(float), compute_uv=False)
    share = share[share > 0] / share.sum()
    return {
        "knn_accuracy": right / len(test),
        "label_top_1_accuracy": np.mean(logits.argmax(1) == drawn.labels),
        "feature_rank": np.exp(-np.sum(share * np.log(share))),
    }


def test_figures_are_those_of_the_weights(few, log):
    """In the events at each evaluation; the log says how to use the best."""
    experiment = few()
    loop.fit(experiment)
    events = event_accumulator.EventAccumulator(
        str(experiment.directory.path), {"tensors": 0}
    ).Reload()
    tags = [tag for tag in events.Tags()["tensors"] if tag.startswith("monitor/")]
    assert {"monitor/feature_std", "monitor/dead_dimensions", "monitor/uniformity"} < set(tags)
    for tag in tags:
        assert [event.step for event in events.Tensors(tag)] == LOOKS
    for name, value in slow_figures(experiment).items():
        assert tf.make_ndarray(events.Tensors(f"monitor/{name}")[-1].tensor_proto) == pytest.approx(
            value, rel=1e-4
        ), name
    curve = [
        float(tf.make_ndarray(event.tensor_proto))
        for event in events.Tensors("monitor/knn_accuracy")
    ]
    best = int(np.argmax(curve))
    assert record(experiment) == {
        "step": LOOKS[best],
        "criterion": "knn_accuracy",
        "value": pytest.approx(curve[best]),
        "held_out": 8,
    }
    assert (
        f"was at step {LOOKS[best]}; its weights are kept: "
        f"--checkpoint={experiment.directory.path / 'best'}" in log.text
    )
    assert "None:" not in log.text  # the passes over images show no progress of their own


def test_the_training_does_not_notice(few, tmp_path, monkeypatch):
    """Looking at other steps changes no bit, nor does a death in between, nor what is best."""

    def run(name, **values):
        loop.fit(few(model_dir=str(tmp_path / name), train_mode="finetune", **values))

    run("often")
    run("once", eval_every_epochs=9)
    alive = stop_after(
        monkeypatch, 3
    )  # the best is of step 3, and the training goes on from step 2
    with pytest.raises(KeyboardInterrupt):
        run("killed", checkpoint_steps=2)
    alive()
    run("killed", checkpoint_steps=2)
    for name in ("once", "killed"):
        assert_same(saved(tmp_path / "often"), saved(tmp_path / name))
    assert_same(saved(tmp_path / "often/best"), saved(tmp_path / "killed/best"))
    assert (tmp_path / "killed/best/best.json").read_text() == (
        tmp_path / "often/best/best.json"
    ).read_text()


def test_the_best_is_kept(few, monkeypatch, tmp_path):
    """Also where what follows is worse, equal or not a number."""
    experiment = few()
    for number, (values, step) in enumerate(
        [
            ([0.5, 0.9, 0.7], 6),
            ([0.5, 0.5, 0.5], 3),
            ([math.nan, 0.1, math.nan], 6),
            ([0.9, math.inf, 0.5], 3),
        ]
    ):
        experiment.directory.path = tmp_path / str(number)
        looks(experiment, monkeypatch, dict(zip([3, 6, 9], values)))
        best = tmp_path / str(number) / "best"
        assert record(experiment) == {
            "step": step,
            "criterion": "knn_accuracy",
            "value": values[step // 3 - 1],
            "held_out": 8,
        }
        assert {path.name for path in best.iterdir()} == {
            f"ckpt-{step}.index",
            f"ckpt-{step}.data-00000-of-00001",
            f"ckpt-{step}.sha256.json",
            "checkpoint",
            "best.json",
            "flags.json",
            "data.json",
        }
        assert saved(best)["step/.ATTRIBUTES/VARIABLE_VALUE"] == step
    experiment.directory.path = tmp_path / "nothing"
    looks(experiment, monkeypatch, {3: math.nan, 6: math.nan})
    assert not (tmp_path / "nothing").exists()


def test_the_best_survives_a_resume(few, monkeypatch):
    """It is read back; a training resumed from an earlier step does not claim it."""
    experiment = few()
    best = experiment.directory.path / "best"
    looks(experiment, monkeypatch, {3: 0.9, 6: 0.5})
    looks(experiment, monkeypatch, {9: 0.7}, start=6)
    assert record(experiment)["step"] == 3
    looks(experiment, monkeypatch, {12: 0.95}, start=9)
    assert record(experiment)["step"] == 12
    looks(experiment, monkeypatch, {12: 0.8}, start=9)
    assert (
        record(experiment)["value"] == 0.8 and saved(best)["step/.ATTRIBUTES/VARIABLE_VALUE"] == 12
    )
    (best / "best.json").write_text(json.dumps({**record(experiment), "step": 9}))
    (best / "saved_model").mkdir()
    Monitor(experiment, 20)  # best.json and the checkpoint do not agree: a death between the two
    assert list(best.iterdir()) == [best / "saved_model"]


@pytest.mark.parametrize(
    ("values", "criterion", "held_out"),
    [
        ({"train_mode": "finetune", "labels_per_class": 3}, "label_top_1_accuracy", 3),
        ({"labels_per_class": 1}, "feature_rank", 7),
        ({}, "knn_accuracy", 8),
    ],
)
def test_criterion(few, values, criterion, held_out):
    """With labels the classifier's accuracy; else k-NN; else the rank."""
    experiment = few(**values)
    figures = Monitor(experiment, 0).look()
    assert record(experiment) == {
        "step": 0,
        "criterion": criterion,
        "value": pytest.approx(figures[criterion]),
        "held_out": held_out,
    }


def test_without_labels(few, monkeypatch):
    make = datasets.SOURCES["digits"]
    monkeypatch.setitem(
        datasets.SOURCES,
        "digits",
        lambda data: {**make(data), "train": lambda: make(data)["train"]().without_labels()},
    )
    experiment = few()
    figures = Monitor(experiment, 0).look()
    assert set(figures) == {"feature_rank", "feature_std", "dead_dimensions", "uniformity"}
    assert record(experiment)["criterion"] == "feature_rank" and record(experiment)["held_out"] == 8


def test_looking_is_no_training_time(few, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(loop, "time", types.SimpleNamespace(monotonic=lambda: now[0]))

    def look(self):
        now[0] += 100
        return {}

    def step(batch):
        now[0] += 1
        return {"total_loss": 0.0}

    monkeypatch.setattr(Monitor, "look", look)
    monkeypatch.setattr(loop, "TrainStep", lambda *arguments: step)
    experiment = few()
    experiment.objective.warning = lambda metrics: None
    loop.fit(experiment)
    assert float(experiment.checkpoints.seconds) == 7


def test_two_replicas_equal_one(settings, shallow, two_replicas, monkeypatch, tmp_path):
    monkeypatch.setattr(validation, "MAX_BANK", 64)
    figures = []
    for number, strategy in enumerate((tf.distribute.get_strategy(), two_replicas)):
        monkeypatch.setattr(distribute, "strategy", lambda hardware, strategy=strategy: strategy)
        keras.utils.set_random_seed(0)
        experiment = build_experiment(settings(**{**FEW, "model_dir": str(tmp_path / str(number))}))
        figures.append(Monitor(experiment, 0).look())
    assert figures[1] == pytest.approx(figures[0], rel=1e-3, abs=1e-4)


def test_the_best_is_a_checkpoint_like_any_other(few, settings, tmp_path):
    """Everything that takes a run takes its best/: the network, the class names, the labels."""
    experiment = few(train_mode="finetune", labels_per_class=3, train_epochs=1)
    loop.fit(experiment)
    best, path = f"{experiment.directory.path}/best", experiment.directory.path
    assert (path / "best/labels.json").read_text() == (path / "labels.json").read_text()
    model = tf_simclr.load(best)
    assert model.class_names == tuple("0123456789") and model.image_size == 16
    assert teacher.load(best, 16).num_classes == 10
    again = build_experiment(
        settings(
            **{
                **FEW,
                "train_mode": "finetune",
                "labels_per_class": 3,
                "checkpoint": best,
                "model_dir": str(tmp_path / "again"),
                "seed": 7,
            }
        )
    )
    assert again._labels["ids"] == experiment._labels["ids"]
    loop.starting.start(again)
    reader = saved(best)
    kernel = next(v for v in again.objective.encoder.variables if v.path.endswith("conv0/kernel"))
    assert any(np.array_equal(value, kernel) for value in reader.values())
    built, _ = parse_command_line("--mode=export", f"--model_dir={best}")
    assert built[0].train.model_dir == best and built[0].data.image_size == TINY["image_size"]


def test_best_of_a_stage_in_a_chain(tmp_path):
    """It has a name among the stages, and goes with them where they go."""
    arguments = [
        "--dataset=digits",
        "--train_mode=pretrain,finetune",
        "--finetune.checkpoint=pretrain/best",
        "--eval_every_epochs=1",
    ]
    built, _ = parse_command_line(*arguments, f"--model_dir={tmp_path}/a")
    assert built[1].objective.checkpoint == f"{tmp_path}/a/pretrain/best"
    Stages(built)  # it is not there yet, but a stage before will make it
    assert combined_flags(built)["finetune"]["checkpoint"] == "pretrain/best"
    assert (
        relocated(built[1].flat(), f"{tmp_path}/b/finetune")["checkpoint"]
        == f"{tmp_path}/b/pretrain/best"
    )
    assert sibling_runs(built[1].replace(checkpoint=f"{tmp_path}/a/pretrain/other").flat()) == {}
