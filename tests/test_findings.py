"""The findings of the papers: their grids, their runs and their tables."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
from PIL import Image

from benchmarks.findings import __main__ as command
from benchmarks.findings import grid, images, runs, simclrv2, tables
from benchmarks.findings.grid import SERIES, Finding, Series
from benchmarks.findings.series import TOP_1, finetuned, gain
from tests.helpers.processes import HERE
from tf_simclr import config
from tf_simclr.config import Config, recipes
from tf_simclr.config.stages import CHECKPOINT_FLAGS
from tf_simclr.errors import Diverged
from tf_simclr.training import loop

each_finding = pytest.mark.parametrize("name", command.FINDINGS)
# Two trainings, in the place of those of the memory.
TINY = Finding(
    claim="More is better.",
    measure="top 1, %",
    axes={"batch": grid.numbered("train_batch_size", [4, 8], "batch {}")},
    series={"pretrained": Series("pretrain", ("batch",), metrics=TOP_1)},
    lines=(SERIES,),
    columns="batch",
)
DIVERGING = dataclasses.replace(
    TINY,
    series={**TINY.series, "fine-tuned": finetuned("batch")},
    lines=(SERIES,),
    contrasts=(gain("more", ("pretrained", "batch 8"), ("pretrained", "batch 4")),),
)
TINY_FLAGS = (
    *HERE,
    "--width_multiplier=0.07",
    "--train_steps=1",
    "--evaluations=classifier",
    "--color_jitter_strength=0",  # colors take seconds to compile
)


@pytest.fixture
def before_fitting(monkeypatch):
    """A function that has `hook` called with the name of each stage before it is trained."""
    fit = loop.fit

    def call(hook):
        def fit_after_hook(experiment, description):
            hook(experiment.directory.path.name)
            fit(experiment, description)

        monkeypatch.setattr(loop, "fit", fit_after_hook)

    return call


def main(*arguments):
    return command.main(list(map(str, arguments)))


@each_finding
def test_the_stages_are_those_of_the_grid(name, tmp_path):
    """Each flag of a label reaches its stage, and each stage starts from one before it."""
    finding = command.FINDINGS[name]
    configs = runs.configure(name, finding, 3, str(tmp_path), [])
    before = set()
    for settings, stage in zip(configs, grid.stages(finding), strict=True):
        flags = settings.flat()
        assert flags["model_dir"] == f"{tmp_path}/seed_3/{stage.name}" and flags["seed"] == 3
        for flag, value in grid.stage_flags(finding, stage, str(tmp_path)).items():
            if flag in CHECKPOINT_FLAGS:
                assert value in before
                value = f"{tmp_path}/seed_3/{value}"
            assert flags[flag] == config.coerce(flag, value), stage.name
        before.add(stage.name)
    assert len(before) == len(configs), "two stages have one name"


@each_finding
def test_all_labels_are_in_the_table(name):
    """Nothing is trained of which nothing is read, and no two numbers are in one cell."""
    finding = command.FINDINGS[name]
    cells = [cell for cell, _, _ in grid.cells(finding)]
    assert len(set(cells)) == len(cells)
    measured = {stage.name for _, stage, _ in grid.cells(finding)}
    starts = set()
    for stage in grid.stages(finding):
        flags = grid.stage_flags(finding, stage, "")
        starts |= {flags[flag] for flag in CHECKPOINT_FLAGS if flag in flags}
    assert {stage.name for stage in grid.stages(finding)} == measured | starts


@each_finding
def test_contrasts_are_of_cells_of_the_table(name):
    finding = command.FINDINGS[name]
    cells = {cell for cell, _, _ in grid.cells(finding)}
    assert finding.contrasts
    for contrast in finding.contrasts:
        assert {*contrast.above, *contrast.below} <= cells
        assert len(contrast.above) == len(contrast.below), "the level of the metric has to cancel"


def test_each_finding_has_a_recipe_and_a_section():
    folder = recipes.CONFIG_DIR / "findings"
    assert {path.stem for path in folder.glob("*.yaml")} == set(command.FINDINGS)
    page = (recipes.CONFIG_DIR.parent / "docs" / "findings.md").read_text()
    for name in command.FINDINGS:
        assert f"python -m benchmarks.findings {name}" in page


def write_results(folder, finding, value_of):
    """Made-up results of one seed. value_of: a function of a stage, None where it was not run."""
    for cell, stage, keys in grid.cells(finding):
        value = value_of(cell)
        if value is not None:
            directory = folder / stage.name
            directory.mkdir(parents=True)
            result = {keys[0]: value, "train_minutes": 1.5}
            (directory / "result.json").write_text(json.dumps(result))


def test_table_and_plot_are_made_of_results_alone(tmp_path, capsys):
    finding = command.FINDINGS["memory"]
    values = {
        ("no memory", "batch 64"): (0.5, 0.6, 0.7),
        ("no memory", "batch 256"): (0.625, 0.625, None),
        ("1,024 keys", "batch 64"): (0.9, None, None),
        ("1,024 keys", "batch 256"): (None, None, None),
    }
    folder = tmp_path / "memory"
    for number, seed in enumerate((0, 1, 10)):
        write_results(folder / f"seed_{seed}", finding, lambda cell, n=number: values[cell][n])
    assert main("memory", "--table", f"--root={tmp_path}") == 0
    text = (folder / command.TABLE).read_text()
    assert text in capsys.readouterr().out
    assert text.splitlines()[2:6] == [
        "| | batch 64 | batch 256 |",
        "|---|--:|--:|",
        "| no memory | 60.0 ± 5.8 | 62.5 ± 0.0 |",
        "| 1,024 keys | 90.0 | not run |",
    ]
    # Of the seeds with all of its cells: the first two, and none.
    assert text.splitlines()[-2:] == [
        "| memory above none | 40.0 |",
        "| more so with the smaller batch | not run |",
    ]
    assert "seeds none, a part of 0, 1, 10" in text and "4 stages a seed, 9 minutes" in text
    assert Image.open(folder / command.PLOT).size[0] > 400


def test_a_table_of_what_diverged(tmp_path):
    values = {
        ("rate 1", "batch 4"): [50.0, math.nan, 60.0],
        ("rate 2", "batch 4"): [math.nan, math.nan],
    }
    assert tables.table(values).splitlines()[2:] == [
        "| rate 1 | 55.0 ± 5.0; 1 diverged |",
        "| rate 2 | diverged |",
    ]
    tables.write_plot(tmp_path / "plot.png", TINY, values)
    assert Image.open(tmp_path / "plot.png").size[0] > 400


@pytest.mark.usefixtures("shallow", "eager")
def test_a_series_goes_on_without_what_diverged(tmp_path, monkeypatch, capsys, before_fitting):
    """Neither it nor what starts from it is tried again until its directory is deleted."""
    monkeypatch.setitem(command.FINDINGS, "memory", DIVERGING)
    trained = []

    def diverge(name):
        trained.append(name)
        if diverges and name == "pretrain-pretrained_batch_4":
            raise Diverged("step 1: not finite: loss")

    before_fitting(diverge)
    arguments = ("memory", "--seeds=0", f"--root={tmp_path}", *TINY_FLAGS)
    diverges = True
    for _ in range(2):
        assert main(*arguments) == 0
        assert trained == [
            "pretrain-pretrained_batch_4",
            "pretrain-pretrained_batch_8",
            "finetune-fine_tuned_batch_8",
        ]
        table = capsys.readouterr().out
        assert table.count(f"{grid.DIVERGED} |") == 3 and tables.NOT_RUN not in table
        assert "; seeds 0: mean" in table
    diverged = tmp_path / "memory" / "seed_0" / "pretrain-pretrained_batch_4"
    assert (diverged / runs.DIVERGENCE_FILE).read_text() == "step 1: not finite: loss"
    shutil.rmtree(diverged)
    diverges = False
    assert main(*arguments) == 0
    assert trained[3:] == ["pretrain-pretrained_batch_4", "finetune-fine_tuned_batch_4"]
    assert grid.DIVERGED not in capsys.readouterr().out


@each_finding
def test_a_table_of_nothing(name, tmp_path):
    """Also of a finding that was never run there are a table and a plot."""
    assert main(name, "--table", f"--root={tmp_path}") == 0
    _, metrics, _, contrasts = (tmp_path / name / command.TABLE).read_text().split("\n\n")
    for table in (metrics, contrasts):
        assert tables.NOT_RUN in table
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_a_pair_of_augmentations_is_one_cell_of_the_table_and_two_of_the_map(monkeypatch, tmp_path):
    finding = command.FINDINGS["augmentations"]
    values = {cell: [float(n)] for n, (cell, _, _) in enumerate(grid.cells(finding))}
    assert len(values) == 15
    assert tables.table(values).splitlines()[4].startswith("| blur |  |  | ")
    maps = []
    monkeypatch.setattr(
        "matplotlib.axes.Axes.imshow", lambda axes, means, **options: maps.append(means)
    )
    tables.write_plot(tmp_path / "plot.png", finding, values)
    (means,) = maps
    np.testing.assert_array_equal(means, means.T)
    assert means[0, 1] == values["crop", "color"][0] and not np.isnan(means).any()


def test_without_a_head_there_is_nothing_after_it():
    """z is then h."""
    finding = command.FINDINGS["head_kind"]
    result = {"eval/linear_probe_accuracy": 0.5, "eval/proj_head_1/linear_probe_accuracy": 0.25}
    no_head = {"eval/linear_probe_accuracy": 0.75}
    stages = {"finetune-digit_linear_head": result, "finetune-digit_no_head": no_head}
    metrics = grid.read(finding, stages)
    assert metrics == {
        ("digit, no head", "h"): 75,
        ("digit, no head", "z"): 75,
        ("digit, linear head", "h"): 50,
        ("digit, linear head", "z"): 25,
    }


def test_altered_digits(tmp_path):
    images.write_altered_digits(str(tmp_path))
    for alteration, classes in images.ALTERATIONS.items():
        for split, count in {"train": 1437, "test": 360}.items():
            names = [path.name for path in (tmp_path / alteration / split).glob("*/*.png")]
            assert len(set(names)) == len(names) == count
        assert {path.name for path in (tmp_path / alteration / "test").iterdir()} == set(classes)
    turned = np.array(Image.open(tmp_path / "rotation" / "test" / "90" / "1.png"))
    dark = np.array(Image.open(tmp_path / "brightness" / "test" / "0.6" / "1.png"))
    np.testing.assert_array_equal(dark, np.uint8(0.6 * np.rot90(turned, -1)))
    stamp = (tmp_path / "rotation").stat().st_mtime_ns
    images.write_altered_digits(str(tmp_path))
    assert (tmp_path / "rotation").stat().st_mtime_ns == stamp


@pytest.mark.usefixtures("shallow", "eager")
def test_an_interrupted_series_resumes(tmp_path, monkeypatch, capsys, before_fitting):
    """Real trainings: the second one is interrupted, and the first one is not repeated."""
    monkeypatch.setitem(command.FINDINGS, "memory", TINY)
    trained = []

    def interrupt(name):
        if len(trained) == stop_before:
            raise KeyboardInterrupt
        trained.append(name)

    before_fitting(interrupt)
    arguments = ("memory", "--seeds=4", f"--root={tmp_path}", *TINY_FLAGS)
    stop_before = 1
    assert main(*arguments) == 130
    assert command.INTERRUPTED in capsys.readouterr().err
    assert main("memory", "--table", f"--root={tmp_path}") == 0
    assert capsys.readouterr().out.count(tables.NOT_RUN) == 1
    stop_before = None
    for _ in range(2):
        assert main(*arguments) == 0
        assert trained == [stage.name for stage in grid.stages(TINY)]
    text = (tmp_path / "memory" / command.TABLE).read_text()
    assert tables.NOT_RUN not in text and "seeds 4" in text


def test_a_wrong_flag_ends_with_a_line(tmp_path, capsys):
    assert main("memory", f"--root={tmp_path}", "--train_step=2") == 2
    assert "findings: unknown flag --train_step" in capsys.readouterr().err


def test_students_of_few_images_take_as_many_steps_as_those_of_all(tmp_path):
    finding = command.FINDINGS["distillation"]
    configs = runs.configure("distillation", finding, 0, str(tmp_path), [])
    students = [flags for flags in map(Config.flat, configs) if "distill" in flags["train_mode"]]
    steps = set()
    for flags in students:
        steps_of_all = 1437 * flags["train_epochs"] // flags["train_batch_size"] + 1
        steps.add(steps_of_all if flags["distill_unlabeled"] else flags["min_steps"])
    assert steps == {simclrv2.STUDENT_STEPS}
