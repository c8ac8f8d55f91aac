"""Evaluation on other data sets: the probe, fine-tuning, and what can't be transferred to."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.evaluation import QUICK, evaluation_data, images_of
from tf_simclr.checkpoints import pretrained
from tf_simclr.commands import evaluate, transfer
from tf_simclr.config.data_sections import DataConfig
from tf_simclr.data import datasets
from tf_simclr.errors import UserError
from tf_simclr.evaluation import metrics
from tf_simclr.evaluation.metrics.base import Examples
from tf_simclr.evaluation.results import Results
from tf_simclr.report import schema
from tf_simclr.runs import files as run_files
from tf_simclr.training.experiment import build_experiment

pytestmark = pytest.mark.usefixtures("shallow", "eager", "few_splits")


@pytest.fixture
def make_experiment(settings):
    """A function: flags -> an experiment in a run directory that is its own."""

    def make(**flags):
        experiment = build_experiment(settings(**{**QUICK, "eval_steps": 1, **flags}))
        experiment.lock_directory()
        experiment.commit_directory()
        return experiment

    return make


def test_transfer(make_experiment, tmp_path):
    """The probe is that of the encoder as it is, fine-tuning starts from it; done once."""
    experiment = make_experiment(transfer_datasets="digits", transfer_epochs=1)
    experiment.checkpoints.save()
    results = Results()
    (row,) = transfer.transfer(experiment, results)
    probe_settings = transfer.settings_for(experiment, "digits")
    data = evaluation_data(build_experiment(probe_settings))
    train, test = (
        Examples(
            experiment.objective(images_of(experiment, source))["final_avg_pool"].numpy(),
            source.labels,
        )
        for source in (data.train, data.test)
    )
    expected, _ = metrics.run("probe", train, test, experiment.settings.eval)
    accuracy = pytest.approx(expected["linear_probe_accuracy"], abs=0.02)
    assert row["probe"] == accuracy
    assert row["untrained_probe"] == accuracy  # nothing was trained yet
    assert (row["dataset"], row["classes"], row["labels"], row["test"]) == ("digits", 10, 1437, 64)
    assert 0 <= row["fine_tuned"] <= 1 and not results.left_out
    (directory,) = (tmp_path / "run" / run_files.TRANSFER).iterdir()
    assert pretrained.load(str(directory)).step == -(-1437 // 256)
    before = (directory / run_files.CONFIG).stat().st_mtime_ns
    assert transfer.transfer(experiment, results) == [row]
    assert (directory / run_files.CONFIG).stat().st_mtime_ns == before


@pytest.fixture
def unlabeled_folder(tmp_path):
    """A folder with 24 images without label."""
    rng = np.random.default_rng(0)
    for number in range(24):
        image = rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)
        path = tmp_path / "images" / f"{number}.png"
        tf.io.write_file(str(path), tf.io.encode_png(image))
    return tmp_path / "images"


@pytest.mark.usefixtures("without_page")
def test_transfer_to_what_has_no_labels(make_experiment, unlabeled_folder, tmp_path):
    """It is left out, and what was evaluated before stays."""
    experiment = make_experiment(
        transfer_datasets=f"folder:{unlabeled_folder}",
        untrained_baseline=False,
        evaluations="classifier",
    )
    experiment.checkpoints.step.assign(experiment.num_steps)
    experiment.checkpoints.save()
    evaluate.evaluate_and_export(experiment)
    document = schema.read(tmp_path / "run")
    assert document["transfer"] == []
    left_out, *_ = document["left_out"]
    assert "only pretraining and distillation work without" in left_out["reason"]
    result = json.loads((tmp_path / "run" / run_files.RESULT).read_text())
    assert result["global_step"] == 3
    assert (tmp_path / "run" / run_files.SAVED_MODEL / "3").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar11", "--transfer_datasets=cifar11: neither digits, folder:PATH nor a data set"),
        ("folder:/nowhere", "--transfer_datasets=folder:/nowhere"),
    ],
)
def test_what_can_not_be_transferred_to(settings, name, message):
    """It shows before the training."""
    with pytest.raises(UserError, match=message):
        build_experiment(settings(mode="train_then_eval", transfer_datasets=name))


def test_a_data_set_without_a_second_split(monkeypatch):
    monkeypatch.setitem(datasets.SOURCES, "single", lambda data: {"train": None})
    message = (
        "--transfer_datasets=single: a split train and one of test, validation, val are needed, "
        "it has train"
    )
    with pytest.raises(UserError, match=message):
        datasets.train_and_test(DataConfig(), "single")
