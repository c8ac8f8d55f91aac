"""Evaluation while training: metrics, and the best weights; no bit of the training changes."""

import contextlib
import json
import math
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

import tf_simclr
from tests.helpers.configurations import TINY, parse_command_line
from tf_simclr import distribute
from tf_simclr.checkpoints import teacher
from tf_simclr.commands.stages import Stages
from tf_simclr.config.stage_directories import combined_flags, relocated, sibling_runs
from tf_simclr.data import datasets
from tf_simclr.runs import interrupts
from tf_simclr.training import initialization, loop, periodic_work, validation
from tf_simclr.training.experiment import build_experiment
from tf_simclr.training.periodic_work import PeriodicWork, make_validation

NUM_IMAGES = 80  # of the tests that train: 72 are left to train on, an epoch has 3 steps
EVALUATED_STEPS = [3, 7]
FEW = {
    "train_batch_size": 24,
    "train_steps": 0,
    "train_epochs": 2,
    "eval_every_epochs": 1,
    "eval_batch_size": 80,
}
STEP_KEY = "step/.ATTRIBUTES/VARIABLE_VALUE"


def replace_training_split(monkeypatch, change):
    """Makes digits give another training split: `change` of what it is."""
    make = datasets.SOURCES["digits"]

    def changed(data):
        splits = make(data)
        return {**splits, "train": lambda: change(splits["train"]())}

    monkeypatch.setitem(datasets.SOURCES, "digits", changed)


@pytest.fixture
def few(shallow, eager, monkeypatch, settings):
    """A function: flags -> an experiment on 80 images, which does not take long."""
    replace_training_split(monkeypatch, lambda source: source.take(np.arange(NUM_IMAGES)))
    return lambda **flags: build_experiment(settings(**{**FEW, **flags}))


def read_record(directory):
    return json.loads((directory / "best" / "best.json").read_text())


def saved(directory):
    """{key: value} of the newest checkpoint, without the time and how often it was saved."""
    reader = tf.train.load_checkpoint(str(directory))
    values = {}
    for key in reader.get_variable_to_shape_map():
        if not key.startswith(("_", "save_counter", "seconds")):
            values[key] = reader.get_tensor(key)
    return values


def assert_same(values, expected):
    assert values.keys() == expected.keys() and values
    for key, value in values.items():
        np.testing.assert_array_equal(value, expected[key], err_msg=key)


def validate(experiment, monkeypatch, accuracies, start=0):
    """Validates after each step of {step: k-NN accuracy}, resumed at step `start`."""
    experiment.checkpoints.step.assign(start)
    validation = make_validation(experiment)
    for step, accuracy in accuracies.items():
        results = {"knn_accuracy": accuracy}
        monkeypatch.setattr(validation, "_evaluate_held_out", lambda results=results: results)
        experiment.checkpoints.step.assign(step)
        validation.evaluate(step)


def slow_metrics(experiment):
    """Every metric that is a criterion, image by image."""
    objective, train_source = experiment.objective, experiment.data.train_source
    seed = experiment.settings.train.seed
    held_out = experiment.data.held_out
    drawn = validation.labeled_first(held_out, validation.MAX_HELD_OUT, seed)

    def outputs(source):
        images = [objective.eval_example(image, 0)["image"] for image in source.records]
        layers = objective(tf.stack(images), training=False)
        return layers["final_avg_pool"].numpy(), layers["logits_sup"].numpy()

    bank, _ = outputs(train_source)
    test, logits = outputs(drawn)
    num_right = 0
    for h, label in zip(test, drawn.labels, strict=True):
        cosine = bank @ h / np.linalg.norm(bank, axis=1) / np.linalg.norm(h)
        votes = np.zeros(10)
        for index in np.argsort(-cosine)[:20]:
            votes[train_source.labels[index]] += math.exp(cosine[index] / 0.1)
        num_right += votes.argmax() == label
    singular_values = np.linalg.svd(test.astype(float), compute_uv=False)
    share = singular_values[singular_values > 0] / singular_values.sum()
    return {
        "knn_accuracy": num_right / len(test),
        "label_top_1_accuracy": np.mean(logits.argmax(1) == drawn.labels),
        "feature_rank": np.exp(-np.sum(share * np.log(share))),
    }


def test_metrics_are_those_of_the_weights(few, log):
    """In the events at each evaluation; the log says how to use the best."""
    experiment = few()
    loop.fit(experiment)
    directory = experiment.directory.path
    events = event_accumulator.EventAccumulator(str(directory), {"tensors": 0}).Reload()
    tags = [tag for tag in events.Tags()["tensors"] if tag.startswith("monitor/")]
    assert {"monitor/feature_std", "monitor/dead_dimensions", "monitor/uniformity"} < set(tags)
    curves = {}
    for tag in tags:
        points = events.Tensors(tag)
        assert [point.step for point in points] == EVALUATED_STEPS
        curves[tag] = [float(tf.make_ndarray(point.tensor_proto)) for point in points]
    for name, value in slow_metrics(experiment).items():
        assert curves[f"monitor/{name}"][-1] == pytest.approx(value, rel=1e-4), name
    curve = curves["monitor/knn_accuracy"]
    best = int(np.argmax(curve))
    assert read_record(directory) == {
        "step": EVALUATED_STEPS[best],
        "criterion": "knn_accuracy",
        "value": pytest.approx(curve[best]),
        "held_out": 8,
    }
    assert f"was at step {EVALUATED_STEPS[best]}; its weights are kept" in log.text
    assert f"--checkpoint={directory / 'best'}" in log.text
    assert "None:" not in log.text  # the passes over images show no progress of their own


def stop_after(monkeypatch, last_step):
    """Has a training die after a step."""
    after = PeriodicWork.after

    def after_or_die(self, step, is_last):
        after(self, step, is_last)
        if step == last_step:
            raise KeyboardInterrupt

    monkeypatch.setattr(PeriodicWork, "after", after_or_die)


def test_the_training_does_not_notice(few, tmp_path, monkeypatch):
    """Evaluating at other steps changes no bit, nor does a death in between, nor what is best."""

    def run(name, **flags):
        loop.fit(few(model_dir=str(tmp_path / name), train_mode="finetune", **flags))

    run("often")
    run("once", eval_every_epochs=9)
    with monkeypatch.context() as patch:
        stop_after(patch, 3)  # the best is of step 3, and the training resumes from step 2
        with pytest.raises(KeyboardInterrupt):
            run("killed", checkpoint_steps=2)
    run("killed", checkpoint_steps=2)
    expected = saved(tmp_path / "often")
    assert_same(saved(tmp_path / "once"), expected)
    assert_same(saved(tmp_path / "killed"), expected)
    assert_same(saved(tmp_path / "killed/best"), saved(tmp_path / "often/best"))
    assert read_record(tmp_path / "killed") == read_record(tmp_path / "often")


@pytest.mark.parametrize(
    ("accuracies", "best_step"),
    [
        ([0.5, 0.9, 0.7], 6),
        ([0.5, 0.5, 0.5], 3),
        ([math.nan, 0.1, math.nan], 6),
        ([0.9, math.inf, 0.5], 3),
    ],
)
def test_the_best_is_kept(few, monkeypatch, accuracies, best_step):
    """Also where what follows is worse, equal or not a number."""
    experiment = few()
    curve = dict(zip([3, 6, 9], accuracies, strict=True))
    validate(experiment, monkeypatch, curve)
    directory = experiment.directory.path
    assert read_record(directory) == {
        "step": best_step,
        "criterion": "knn_accuracy",
        "value": curve[best_step],
        "held_out": 8,
    }
    checkpoint = f"ckpt-{best_step}"
    assert {path.name for path in (directory / "best").iterdir()} == {
        f"{checkpoint}.index",
        f"{checkpoint}.data-00000-of-00001",
        f"{checkpoint}.sha256.json",
        "checkpoint",
        "best.json",
        "flags.json",
        "data.json",
        "held_out.json",
    }
    assert saved(directory / "best")[STEP_KEY] == best_step


def test_undefined_metrics_make_no_best_checkpoint(few, monkeypatch):
    experiment = few()
    validate(experiment, monkeypatch, {3: math.nan, 6: math.nan})
    assert not experiment.directory.path.exists()


def test_the_best_survives_a_resume(few, monkeypatch):
    """It is read back; a training resumed from an earlier step does not claim it."""
    experiment = few()
    directory = experiment.directory.path
    best = directory / "best"
    validate(experiment, monkeypatch, {3: 0.9, 6: 0.5})
    validate(experiment, monkeypatch, {9: 0.7}, start=6)
    assert read_record(directory)["step"] == 3
    validate(experiment, monkeypatch, {12: 0.95}, start=9)
    assert read_record(directory)["step"] == 12
    validate(experiment, monkeypatch, {12: 0.8}, start=9)
    assert read_record(directory)["value"] == 0.8 and saved(best)[STEP_KEY] == 12
    (best / "best.json").write_text(json.dumps({**read_record(directory), "step": 9}))
    (best / "saved_model").mkdir()
    # best.json and the checkpoint do not agree: the training died between the two.
    validate(experiment, monkeypatch, {}, start=20)
    assert list(best.iterdir()) == [best / "saved_model"]


@pytest.mark.parametrize(
    ("flags", "criterion", "num_held_out"),
    [
        ({"train_mode": "finetune", "labels_per_class": 3}, "label_top_1_accuracy", 3),
        (
            {"train_mode": "finetune", "labels_per_class": 3, "class_weights": "balanced"},
            "label_balanced_accuracy",
            3,
        ),
        ({"labels_per_class": 1}, "feature_rank", 7),
        ({}, "knn_accuracy", 8),
    ],
)
def test_criterion(few, flags, criterion, num_held_out):
    """With labels the classifier's accuracy, as classes count; else k-NN; else the rank."""
    experiment = few(**flags)
    results = make_validation(experiment).evaluate(0)
    assert read_record(experiment.directory.path) == {
        "step": 0,
        "criterion": criterion,
        "value": pytest.approx(results[criterion]),
        "held_out": num_held_out,
    }


def test_without_labels(few, monkeypatch):
    replace_training_split(monkeypatch, lambda source: source.without_labels())
    experiment = few()
    results = make_validation(experiment).evaluate(0)
    assert set(results) == {"feature_rank", "feature_std", "dead_dimensions", "uniformity"}
    record = read_record(experiment.directory.path)
    assert (record["criterion"], record["held_out"]) == ("feature_rank", 8)


def test_a_signal_does_not_end_a_validation(few, monkeypatch):
    """The steps before it are not saved yet, and it may take longer than a signal leaves."""
    order = []

    @contextlib.contextmanager
    def hold(after_second=True):
        order.append(("held", after_second))
        yield
        order.append("not held")

    def evaluate(self, step):
        order.append("validated")
        return {}

    monkeypatch.setattr(interrupts, "hold", hold)
    monkeypatch.setattr(validation.Validation, "evaluate", evaluate)
    experiment = few()
    monkeypatch.setattr(experiment.checkpoints, "save", lambda: order.append("saved"))
    events = types.SimpleNamespace(write_scalars=lambda step, tags: None, flush=lambda: None)
    PeriodicWork(experiment, events).after(EVALUATED_STEPS[0], is_last=True)
    whole, save = ("held", False), ("held", True)
    assert order == [whole, "validated", save, "saved", "not held", "not held"]


def test_validation_is_no_training_time(few, monkeypatch):
    now = 0.0
    clock = types.SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(periodic_work, "time", clock)

    def evaluate(self, step):
        nonlocal now
        now += 100
        return {}

    def train_step(batch):
        nonlocal now
        now += 1
        return {"total_loss": 0.0}

    monkeypatch.setattr(validation.Validation, "evaluate", evaluate)
    monkeypatch.setattr(loop, "TrainStep", lambda *arguments: train_step)
    experiment = few()
    experiment.objective.warning = lambda metrics: None
    loop.fit(experiment)
    assert float(experiment.checkpoints.seconds) == 7


def test_two_replicas_equal_one(settings, shallow, two_replicas, monkeypatch, tmp_path):
    monkeypatch.setattr(validation, "MAX_NEIGHBORS", 64)

    def validated(strategy):
        monkeypatch.setattr(distribute, "get_strategy", lambda hardware: strategy)
        keras.utils.set_random_seed(0)
        directory = tmp_path / type(strategy).__name__
        experiment = build_experiment(settings(**FEW, model_dir=str(directory)))
        return make_validation(experiment).evaluate(0)

    expected = validated(tf.distribute.get_strategy())
    assert validated(two_replicas) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_the_best_is_a_checkpoint_like_any_other(few, settings, tmp_path):
    """Everything that takes a run takes its best/: the network, the class names, the labels."""
    flags = {"train_mode": "finetune", "labels_per_class": 3}
    experiment = few(**flags, train_epochs=1)
    loop.fit(experiment)
    run = experiment.directory.path
    best = f"{run}/best"
    assert (run / "best/labels.json").read_text() == (run / "labels.json").read_text()
    model = tf_simclr.load(best)
    assert model.class_names == tuple("0123456789") and model.image_size == 16
    assert teacher.load(best, 16).num_outputs == 10
    start = {"checkpoint": best, "model_dir": str(tmp_path / "next"), "seed": 7}
    following = few(**flags, **start)
    assert following.data.label_subset["ids"] == experiment.data.label_subset["ids"]
    initialization.initialize(
        following.objective,
        settings=following.settings,
        train_source=following.data.train_source,
        strategy=following.strategy,
    )
    values = saved(best).values()
    variables = following.objective.encoder.variables
    (kernel,) = [v for v in variables if v.path.endswith("stem/conv0/kernel")]
    assert any(np.array_equal(value, kernel) for value in values)
    (exported,), _ = parse_command_line("--mode=export", f"--model_dir={best}")
    assert exported.train.model_dir == best
    assert exported.data.image_size == TINY["image_size"]


def test_best_of_a_stage_in_a_chain(tmp_path):
    """It has a name among the stages, and goes with them where they go."""
    arguments = [
        "--dataset=digits",
        "--train_mode=pretrain,finetune",
        "--finetune.checkpoint=pretrain/best",
        "--eval_every_epochs=1",
    ]
    configs, _ = parse_command_line(*arguments, f"--model_dir={tmp_path}/a")
    _, finetuning = configs
    assert finetuning.objective.checkpoint == f"{tmp_path}/a/pretrain/best"
    Stages(configs)  # it is not there yet, but a stage before will make it
    assert combined_flags(configs)["finetune"]["checkpoint"] == "pretrain/best"
    moved = relocated(finetuning.flat(), f"{tmp_path}/b/finetune")
    assert moved["checkpoint"] == f"{tmp_path}/b/pretrain/best"
    elsewhere = finetuning.replace(checkpoint=f"{tmp_path}/a/pretrain/other")
    assert sibling_runs(elsewhere.flat()) == {}
