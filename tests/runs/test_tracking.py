"""--track: MLflow's file store gets what `metrics.jsonl` has, and no failure ends a training.

A stand-in for wandb records what it is called with.
"""

import json
import logging
import shutil
import signal
import sys

import pytest

from tests.helpers.processes import DIGITS, HERE, TINY, the_message
from tf_simclr.commands import run as run_command
from tf_simclr.commands.stages import Stages
from tf_simclr.config.registry import TRACKERS
from tf_simclr.errors import Interrupted
from tf_simclr.runs import tracking
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.runs.metrics_log import MetricsLog

WANDB = """
import os, types

class Run:
    def __init__(self, arguments):
        self.id = arguments.get("id") or f"run{len(calls)}"
    def __getattr__(self, name):
        return lambda *arguments, **named: calls.append((self.id, name, arguments, named))

calls = []
def init(**arguments):
    calls.append(("", "init", (), arguments))
    return Run(arguments)
"""


@pytest.fixture(autouse=True)
def _own_store(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'store'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def mlflow_client():
    from mlflow import MlflowClient  # takes seconds to import

    return MlflowClient()


@pytest.fixture
def wandb(monkeypatch, tmp_path):
    """The calls of a stand-in: (id of the run, function, arguments, named arguments)."""
    (tmp_path / "packages" / "wandb").mkdir(parents=True)
    (tmp_path / "packages" / "wandb" / "__init__.py").write_text(WANDB)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    import wandb

    yield wandb.calls
    del sys.modules["wandb"]


@pytest.fixture
def log_of(settings):
    """A function that makes the log of a new start in the same directory."""

    def make(*names, **flags):
        options = settings(track=names, **flags)
        directory = RunDirectory(options.train.model_dir)
        directory.create()
        return MetricsLog(directory, tracking.Tracking(directory, options))

    return make


def runs_of(client):
    return {run.info.run_name: run for run in client.search_runs(["0"])}


def histories(client, run):
    """{tag: [(step, value)]} of a run."""
    return {
        tag: [(metric.step, metric.value) for metric in client.get_metric_history(run, tag)]
        for tag in client.get_run(run).data.metrics
    }


def in_file(directory):
    """The same of `metrics.jsonl`."""
    points = {}
    for text in (directory / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text)
        step = line.pop("step")
        del line["wall_time"]
        for tag, value in line.items():
            points.setdefault(tag, []).append((step, value))
    return points


@pytest.mark.usefixtures("shallow", "eager", "without_outputs")
def test_a_chain_in_mlflow(main, tmp_path):
    """A run for each stage, with its flags; a start that goes on with it adds to the same one."""
    chain = [
        *("--train_mode=pretrain,finetune", "--train_steps=2", "--eval_steps=1", "--track=mlflow"),
        *("--eval_batch_size=8", "--untrained_baseline=False", "--color_jitter_strength=0"),
        *("--train_batch_size=16", f"--model_dir={tmp_path / 'chain'}"),
    ]
    status, stderr = main(*DIGITS, *TINY, *HERE, *chain, "--mode=train_then_eval")
    assert status == 0, stderr
    client = mlflow_client()
    runs = runs_of(client)
    assert set(runs) == {"pretrain", "finetune"}
    for stage, run in runs.items():
        assert run.info.status == "FINISHED"
        flags = json.loads((tmp_path / "chain" / stage / "flags.json").read_text())
        assert run.data.params.keys() == flags.keys()
        assert run.data.params["train_mode"] == stage and run.data.params["track"] == "mlflow"
        points = histories(client, run.info.run_id)
        assert points == in_file(tmp_path / "chain" / stage)
        assert [step for step, _ in points["train/total_loss"]] == [1, 2]
        assert [step for step, _ in points["eval/label_top_1_accuracy"]] == [2]
    stage = f"--model_dir={tmp_path / 'chain' / 'pretrain'}"
    status, stderr = main(stage, "--mode=eval", *HERE)
    assert status == 0, stderr
    assert set(runs_of(client)) == set(runs)
    points = histories(client, runs["pretrain"].info.run_id)
    assert [step for step, _ in points["eval/label_top_1_accuracy"]] == [2, 2]


def test_how_a_run_ends_and_goes_on(log_of):
    client = mlflow_client()
    for error, status in (
        (Interrupted("", signal.SIGTERM), "KILLED"),
        (ValueError(), "FAILED"),
        (None, "FINISHED"),
    ):
        try:
            with log_of("mlflow", train_steps=3 if error else 5) as metrics_log:
                metrics_log.write(1, {"a": float("nan")})
                if error:
                    raise error
        except (Interrupted, ValueError):
            pass
        (run,) = client.search_runs(["0"])
        assert run.info.status == status
    assert run.data.params["train_steps"] == "3", "the flags are logged once"
    assert len(client.get_metric_history(run.info.run_id, "a")) == 3


def test_wandb(log_of, wandb, settings):
    for first_step in (1, 11):
        with log_of("wandb", train_steps=30, crop_area=(0.5, 1.0)) as metrics_log:
            metrics_log.write(first_step, {"a": 0.5})
    inits = [named for _, name, _, named in wandb if name == "init"]
    new, resumed = inits
    assert new["name"] == "run" and new["config"]["crop_area"] == "0.5,1"
    assert new["config"]["train_steps"] == 30 and new["config"].keys() == settings().flat().keys()
    assert resumed == {"id": "run1", "resume": "allow"}
    logged = [(run, arguments) for run, name, arguments, _ in wandb if name == "log"]
    assert logged == [("run1", ({"a": 0.5, "global_step": step},)) for step in (1, 11)]
    ends = [(run, named) for run, name, _, named in wandb if name == "finish"]
    assert ends == [("run1", {"exit_code": 0})] * 2


@pytest.mark.parametrize("fails_at", ["start", "write"])
def test_a_tracker_that_fails(log_of, wandb, log, monkeypatch, tmp_path, fails_at):
    """One warning; the file and the other tracker get everything, as does the next start."""
    if fails_at == "start":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:9")
    with log_of("mlflow", "wandb") as metrics_log:
        metrics_log.write(1, {"a": 1.0})
        if fails_at == "write":
            shutil.rmtree(tmp_path / "store")
        for step in (2, 3):
            metrics_log.write(step, {"a": 1.0})
    warnings = [record for record in log.records if record.levelno == logging.WARNING]
    (message,) = {record.getMessage() for record in warnings if record.name == "absl"}
    assert message.startswith("--track=mlflow: ") and "metrics.jsonl has everything" in message
    assert len([name for _, name, *_ in wandb if name == "log"]) == 3
    assert len(in_file(tmp_path / "run")["a"]) == 3
    with log_of() as untracked:
        untracked.write(4, {"a": 1.0})
    assert len([name for _, name, *_ in wandb if name == "log"]) == 3


def test_absence_is_said_before_any_work(main, monkeypatch, tmp_path):
    """Also where there is a folder of the name in the working directory, as wandb makes one."""
    (tmp_path / "wandb").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.delattr(run_command, Stages.__name__)  # what looks at the run directories
    arguments = ["--train_mode=pretrain,finetune", "--finetune.track=mlflow,wandb"]
    status, stderr = main(*DIGITS, *TINY, *arguments, f"--model_dir={tmp_path / 'run'}")
    assert status == 2 and not (tmp_path / "run").exists()
    assert the_message(stderr).endswith(
        "--track=mlflow,wandb: mlflow and wandb not installed; pip install mlflow-skinny wandb"
    )


def test_the_trackers_are_those_of_the_flag():
    assert tuple(tracking.TRACKERS) == TRACKERS
