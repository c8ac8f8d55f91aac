"""The table of a chain's stages, and its mean and spread over seeds."""

import json

import pytest

from benchmarks import seeds
from tf_simclr import report

PRETRAIN = {
    "eval/knn_accuracy": 0.5,
    "untrained/knn_accuracy": 0.25,
    "labels": 20,
    "global_step": 1200,
    "parameters": 1234567,
    "train_minutes": 1.26,
}
DISTILL = {
    "eval/knn_accuracy": 0.75,
    "eval/label_top_1_accuracy": 1.0,
    "labels": 20,
    "global_step": 300,
    "parameters": 10,
    "train_minutes": 0.5,
}
OF_A_PRETEXT_TASK = {
    **PRETRAIN,
    "eval/task_accuracy": 0.9,
    "eval/task_loss": 0.25,
    "eval/task_chance": 1.3863,
    "eval/block_group2/linear_probe_accuracy": 0.6,
    "eval/linear_probe_accuracy": 0.55,
}


def cells_of(line):
    """What the cells of a line say."""
    return [cell.strip() for cell in line.split("|")]


def test_table():
    lines = report.stages_table({"pretrain": PRETRAIN, "distill": DISTILL}).splitlines()
    assert lines[1:] == [
        "|-------------------|--------|------:|--------:|------:|--------------------:|-------:"
        "|-----------:|--------:|",
        "| untrained network | 20     |     0 |         |       |                     | 25.00% "
        "|  1,234,567 |     0.0 |",
        "| pretrain          | 20     | 1,200 |         |       |                     | 50.00% "
        "|  1,234,567 |     1.3 |",
        "| distill           | 20     |   300 | 100.00% |       |                     | 75.00% "
        "|         10 |     0.5 |",
    ]


def test_top_5_of_five_classes_is_no_column():
    name = "eval/label_top_5_accuracy"
    for accuracy, is_column in ((1.0, False), (0.99, True)):
        stages = {"pretrain": PRETRAIN, "distill": {**DISTILL, name: accuracy}}
        head, _, *lines = report.stages_table(stages).splitlines()
        assert ("top 5" in head) == is_column
        assert len({line.count("|") for line in [head, *lines]}) == 1


def test_table_with_layers_and_a_pretext_task():
    stages = {"pretrain": OF_A_PRETEXT_TASK, "distill": DISTILL}
    lines = report.stages_table(stages).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert cells_of(lines[0]) == cells_of(
        "| stage | labels | steps | own task | its loss (at chance) "
        "| block_group1, logistic regression | block_group2, logistic regression "
        "| block_group3, logistic regression | top 1 | top 5 "
        "| logistic regression | k-NN | parameters | minutes |"
    )
    assert cells_of(lines[3]) == cells_of(
        "| pretrain | 20 | 1,200 | 90.00% | 0.250 (1.386) |  | 60.00% |  |  |  | 55.00% | 50.00% "
        "| 1,234,567 | 1.3 |"
    )
    assert len({line.count("|") for line in lines}) == 1


def write_run(directory, *, seed, image_size, results):
    directory.mkdir(exist_ok=True)
    flags = {
        "seed": seed,
        "model_dir": directory.name,
        "train_mode": "pretrain,finetune",
        "image_size": image_size,
    }
    (directory / "flags.json").write_text(json.dumps(flags))
    (directory / "result.json").write_text(json.dumps(results))


def stage_results(accuracy, minutes):
    return {
        "eval/knn_accuracy": accuracy,
        "evaluated_with": {},
        "labels": 20,
        "global_step": 40,
        "parameters": 10,
        "train_minutes": minutes,
    }


def test_table_over_seeds(tmp_path, monkeypatch, capsys):
    """The mean and the spread of the stages that all runs have."""
    first, second = stage_results(0.5, 1.0), stage_results(0.75, 2.0)
    write_run(tmp_path / "0", seed=0, image_size=16, results={"pretrain": first})
    both_stages = {"pretrain": second, "finetune": second}
    write_run(tmp_path / "1", seed=1, image_size=16, results=both_stages)
    monkeypatch.setattr("sys.argv", ["seeds", str(tmp_path / "0"), str(tmp_path / "1")])
    seeds.main()
    lines = capsys.readouterr().out.splitlines()
    shown = [line for line in lines if "pretrain" in line or "of 2 runs" in line]
    assert [cells_of(line) for line in shown] == [
        ["mean of 2 runs"],
        ["", "pretrain", "20", "40", "", "", "", "62.50%", "10", "1.5", ""],
        ["greatest minus least of 2 runs"],
        ["", "pretrain", "20", "40", "", "", "", "25.00%", "10", "1.0", ""],
    ]


def test_runs_that_differ_in_more_than_the_seed(tmp_path, monkeypatch, capsys):
    for seed, image_size in enumerate((16, 32)):
        results = {"pretrain": stage_results(0.5, 1.0)}
        write_run(tmp_path / str(seed), seed=seed, image_size=image_size, results=results)
    monkeypatch.setattr("sys.argv", ["seeds", str(tmp_path / "0"), str(tmp_path / "1")])
    with pytest.raises(SystemExit) as ended:
        seeds.main()
    assert ended.value.code == 2
    assert f"1: image_size not as in {tmp_path / '0'}" in capsys.readouterr().err
