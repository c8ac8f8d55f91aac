"""`metrics.jsonl`: whole lines of valid JSON, each step once, whatever ends a training."""

import json
import math
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from tf_simclr.errors import UserError
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.runs.metrics_log import MetricsLog
from tf_simclr.runs.tracking import Tracking
from tf_simclr.training import loop
from tf_simclr.training.experiment import build_experiment

STEPS = 12


def lines_of(directory):
    """The lines of the file, which have to be valid JSON by the letter."""

    def refuse(name):
        raise AssertionError(name)

    text = (directory / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def steps_of(directory):
    return [line["step"] for line in lines_of(directory)]


@pytest.fixture
def log_of(settings, tmp_path):
    """A function that makes the log of a new start in the same directory."""
    directory = RunDirectory(tmp_path)
    return lambda: MetricsLog(directory, Tracking(directory, settings()))


def test_values_are_numbers_or_null(log_of, tmp_path):
    values = {"a": math.nan, "b": -math.inf, "c": np.float32(0.5), "d": tf.constant(3), "e": True}
    log_of().write(7, values)
    log_of().write(8, {})
    (line,) = lines_of(tmp_path)
    assert abs(line.pop("wall_time") - (tmp_path / "metrics.jsonl").stat().st_mtime) < 5
    assert line == {"step": 7, "a": None, "b": None, "c": 0.5, "d": 3.0, "e": 1.0}


def test_steps_that_are_done_again_are_dropped(log_of, tmp_path):
    metrics_log = log_of()
    metrics_log.drop_after(0)  # where there is nothing yet
    for step in (1, 11, 21, 21, 31):
        metrics_log.write(step, {"train/loss": 1 / step})
    before = lines_of(tmp_path)
    log_of().drop_after(21)
    assert lines_of(tmp_path) == before[:4]
    log_of().drop_after(20)
    assert lines_of(tmp_path) == before[:2]
    kept = (tmp_path / "metrics.jsonl").stat()
    log_of().drop_after(11)
    assert (tmp_path / "metrics.jsonl").stat().st_ino == kept.st_ino, "written again for nothing"
    log_of().drop_after(0)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


@pytest.mark.parametrize("torn", [b'{"step": 21, "tr', b'{"step": 1}', b"\xff\xfe\x00", b"[1]\n"])
def test_torn_line(log_of, tmp_path, torn):
    """The next line of another start does not join it, and no other is lost."""
    log_of().write(1, {"a": 1})
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(torn)
    log_of().write(11, {"a": 2})
    assert [line["a"] for line in lines_of(tmp_path)] == [1, 2]


def test_file_that_can_not_be_read(log_of, tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match=r"can't be read .*; move it elsewhere"):
        log_of().write(1, {"a": 1})


def test_in_a_bucket_lines_wait(log_of, tmp_path, monkeypatch):
    """Each addition uploads the whole file again."""
    texts = []
    append_text = run_files.append_text

    def record(path, text):
        texts.append(text)
        append_text(path, text)

    monkeypatch.setattr(run_files, "append_text", record)
    with log_of() as metrics_log:
        metrics_log.collects = True
        for step in (1, 11):
            metrics_log.write(step, {"a": step})
        assert not texts
        metrics_log.flush()
        metrics_log.write(21, {"a": 21})
        assert steps_of(tmp_path) == [1, 11] and len(texts) == 1
        metrics_log.flush()
        metrics_log.flush()
        metrics_log.write(31, {"a": 31})
    assert steps_of(tmp_path) == [1, 11, 21, 31] and len(texts) == 3


def test_which_directory_is_a_bucket(log_of):
    bucket = types.SimpleNamespace(path="gs://bucket/run")
    assert MetricsLog(bucket, None).collects
    assert not log_of().collects


@pytest.mark.usefixtures("shallow", "eager")
def test_training_and_resuming(settings, tmp_path):
    """What TensorBoard gets, each step once, though what came after a checkpoint was done twice.

    Also where the second start writes as into a bucket, when it saves.
    """
    flags = {"color_jitter_strength": 0.0, "checkpoint_steps": 5, "eval_batch_size": 64}
    options = settings(**flags, train_steps=STEPS, eval_every_epochs=1)
    experiment = build_experiment(options)
    directory = experiment.directory.path
    loop.fit(experiment)
    undisturbed = lines_of(directory)
    assert_as_tensorboard(directory, undisturbed)
    directory = shutil.copytree(directory, tmp_path / "killed")
    for path in directory.glob(f"ckpt-{STEPS}*"):
        path.unlink()
    (directory / "metrics.jsonl").open("a").write('{"step": 12, "train/')
    experiment = build_experiment(options.replace(model_dir=str(directory)))
    experiment.metrics_log.collects = True
    loop.fit(experiment)
    resumed = [line for line in lines_of(directory) if line["step"] != 11]
    for line in resumed + undisturbed:
        line.pop("wall_time")
        line.pop("train/data_time", None)
    assert resumed == [line for line in undisturbed if line["step"] != 11]


def assert_as_tensorboard(directory, lines):
    events = event_accumulator.EventAccumulator(str(directory), {"tensors": 0}).Reload()
    tags = set(events.Tags()["tensors"]) - {"image"}
    assert {"learning_rate", "train/total_loss", "monitor/feature_rank"} <= tags
    for tag in tags:
        points = [(line["step"], line[tag]) for line in lines if tag in line]
        written = [
            (event.step, tf.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)
        ]
        assert [step for step, _ in points] == [step for step, _ in written]
        assert np.allclose([value for _, value in points], [value for _, value in written])
