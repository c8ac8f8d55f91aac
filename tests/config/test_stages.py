"""Stages: their names, what each starts from, who overrides whom, and back to a file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import seeds
from tests.helpers.configurations import parse_command_line
from tf_simclr import report
from tf_simclr.commands.stages import Stages
from tf_simclr.config import recipes
from tf_simclr.config.registry import TRAIN_MODES
from tf_simclr.config.stages import (
    combined_flags,
    relocated,
    separate_sections,
    sibling_runs,
    stage_configs,
)
from tf_simclr.errors import UserError


def stages(*arguments):
    """{stage: flat configuration} of a command line."""
    built, _ = parse_command_line("--dataset=digits", "--model_dir=runs/x", *arguments)
    return {
        settings.train.model_dir.removeprefix("runs/x").lstrip("/"): settings.flat()
        for settings in built
    }


def refused(*arguments):
    with pytest.raises(UserError) as caught:
        stages(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def starts(built):
    return {
        stage: (
            values["checkpoint"].removeprefix("runs/x/"),
            values["teacher_checkpoint"].removeprefix("runs/x/"),
        )
        for stage, values in built.items()
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--train_mode=pretrain,finetune,distill"],
            {"pretrain": ("", ""), "finetune": ("pretrain", ""), "distill": ("", "finetune")},
        ),
        (
            ["--train_mode=supervised,pretrain,finetune"],
            {"supervised": ("", ""), "pretrain": ("", ""), "finetune": ("pretrain", "")},
        ),
        (
            ["--train_mode=pretrain,finetune-a,finetune,distill,distill-small"],
            {
                "pretrain": ("", ""),
                "finetune-a": ("pretrain", ""),
                "finetune": ("pretrain", ""),
                "distill": ("", "finetune"),
                "distill-small": ("", "distill"),
            },
        ),
        (
            ["--train_mode=supervised,finetune,distill", "--checkpoint=P"],
            {"supervised": ("", ""), "finetune": ("P", ""), "distill": ("", "finetune")},
        ),
        (
            ["--train_mode=distill,distill-small", "--teacher_checkpoint=T"],
            {"distill": ("", "T"), "distill-small": ("", "distill")},
        ),
        (
            [
                "--train_mode=pretrain,finetune,distill",
                "--distill.checkpoint=pretrain",
                "--distill.teacher_checkpoint=T",
            ],
            {"pretrain": ("", ""), "finetune": ("pretrain", ""), "distill": ("pretrain", "T")},
        ),
    ],
)
def test_what_each_stage_starts_from(arguments, expected):
    assert starts(stages(*arguments)) == expected


def test_one_stage_has_the_run_directory_for_itself():
    built = stages("--train_mode=distill-small", "--teacher_checkpoint=T", "--checkpoint=P")
    assert list(built) == [""] and built[""]["train_mode"] == "distill"
    assert starts(built) == {"": ("P", "T")}


def test_sections_override_what_is_shared_and_the_command_line_both(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(
        "train_mode: pretrain,distill,distill-small\ndataset: digits\nlearning_rate: 1\nseed: 1\n"
        "distill: {learning_rate: 2, seed: 2, train_epochs: 5}\ndistill-small: {learning_rate: 3, width_multiplier: 0.5}\n"
    )
    built = stages(
        f"--config={path}",
        "--train_epochs=7",
        "--pretrain.seed=4",
        "--distill.width_multiplier=2",
        "--distill-small.train_epochs=8",
    )
    assert {
        stage: (v["learning_rate"], v["seed"], v["train_epochs"], v["width_multiplier"])
        for stage, v in built.items()
    } == {"pretrain": (1, 4, 7, 1), "distill": (2, 2, 7, 2), "distill-small": (3, 2, 8, 2)}
    assert {
        values["seed"]
        for values in stages("--train_mode=pretrain-a,pretrain-b", "--pretrain.seed=4").values()
    } == {4}


def test_one_mode_takes_its_section_of_a_chain():
    """The quick start's fine-tuning alone."""
    recipe = recipes.read(recipes.CONFIG_DIR / "digits_quickstart.yaml")
    built = stages("--config=digits_quickstart", "--train_mode=finetune", "--checkpoint=P")
    assert (
        built[""]["learning_rate"] == recipe["finetune"]["learning_rate"]
        and built[""]["checkpoint"] == "P"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--train_mode=pretrain,finetun"], "'finetune'"),
        (["--train_mode=pretrain,"], "accepted are pretrain, finetune, supervised, distill"),
        (["--train_mode=distill,distill"], "distill-2"),
        (["--train_mode=pretrain,distill-../x"], "distill-small"),
        (["--train_mode=pretrain", "--finetune.seed=1"], "no such stage in --train_mode=pretrain"),
        (["--train_mode=pretrain,finetune", "--finetune.learning_rat=1"], "'learning_rate'"),
        (
            ["--train_mode=pretrain,finetune", "--finetune.learning_rate=fast"],
            "--learning_rate=fast",
        ),
        (["--train_mode=pretrain,finetune", "--finetune.num_cpu_devices=2"], "all stages share it"),
        (["--train_mode=pretrain,finetune", "--finetune.model_dir=y"], "all stages share it"),
        (["--train_mode=supervised", "--checkpoint=P"], "--train_mode=finetune"),
        (
            ["--train_mode=supervised,pretrain", "--supervised.checkpoint=P"],
            "--train_mode=finetune",
        ),
        (
            ["--train_mode=pretrain,finetune,distill", "--teacher_checkpoint=T"],
            "no stage of --train_mode=pretrain,finetune,distill takes it",
        ),
        (["--train_mode=supervised,supervised-b", "--checkpoint=P"], "no stage"),
        (
            ["--train_mode=finetune,distill", "--checkpoint=P", "--distill.checkpoint=pretrain"],
            "no stage of this name runs before it",
        ),
        (
            ["--config=digits_quickstart", "--train_mode=distill", "--teacher_checkpoint=T"],
            "--distill.checkpoint=",
        ),
    ],
)
def test_wrong_stages(arguments, said):
    assert said in refused(*arguments)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pretrain: 3", "section of a stage"),
        ("pretrain: {seed: -1}", "--seed=-1"),
        ("finetune: {lerning_rate: 1}", "'learning_rate'"),
        ("finetune: {train_mode: distill}", "all stages share it"),
        ("finetuning: {seed: 1}", "unknown key 'finetuning'"),
        ("finetune: {checkpoint: [a]}", "a text is expected"),
        ("train_mode: pretrain,distill-small\ndistill-smal: {seed: 1}", "'distill-small'"),
    ],
)
def test_wrong_sections(tmp_path, text, said):
    (tmp_path / "my.yaml").write_text(f"dataset: digits\n{text}\n")
    message = refused(f"--config={tmp_path / 'my.yaml'}")
    assert "my.yaml" in message and said in message


@pytest.mark.parametrize(
    ("saved", "checkpoint", "there", "expected"),
    [
        ("runs/x/finetune", "runs/x/pretrain", "runs/y/finetune", "runs/y/pretrain"),
        ("runs/x/finetune", "runs/x/pretrain/", "./runs/x/finetune/", "./runs/x/pretrain"),
        ("runs/x/finetune", "runs/z", "runs/y/finetune", "runs/z"),
        ("a", "b", "c/a", "c/b"),
        ("a", "b", ".", "./../b"),
        ("gs://b/x/a", "gs://b/x/c", "gs://b/y/a", "gs://b/y/c"),
    ],
)
def test_a_run_that_was_moved_with_the_one_it_starts_from(saved, checkpoint, there, expected):
    values = relocated({"model_dir": saved, "checkpoint": checkpoint, "seed": 1}, there)
    assert values == {"model_dir": there, "checkpoint": expected, "seed": 1}
    assert sibling_runs(values) == (
        {} if expected == "runs/z" else {"checkpoint": expected.split("/")[-1]}
    )


MODE = st.sampled_from(TRAIN_MODES)
NAMES = st.lists(
    st.tuples(MODE, st.sampled_from(["", "-a", "-b"])).map("".join),
    min_size=2,
    max_size=5,
    unique=True,
)


@given(
    NAMES,
    st.dictionaries(
        MODE,
        st.fixed_dictionaries(
            {}, optional={"seed": st.integers(0, 9), "learning_rate": st.floats(0, 1)}
        ),
    ),
)
def test_what_is_described_is_built_again(names, sections):
    """`flags.json` of a chain gives the same stages, also in another directory."""
    common = {"train_mode": ",".join(names), "model_dir": "runs/x", "dataset": "digits", "seed": 3}
    built = stage_configs(common, sections)
    again = stage_configs(*separate_sections(combined_flags(built)))
    assert again == built
    moved = stage_configs(*separate_sections(combined_flags(built)), {"model_dir": "runs/y"})
    assert [settings.train.model_dir for settings in moved] == [f"runs/y/{name}" for name in names]
    assert not any(
        "runs/x" in str(value) for settings in moved for value in settings.flat().values()
    )


@pytest.mark.parametrize("before", ["a stage before", "another run"])
@pytest.mark.parametrize(
    ("pretext", "selector", "fits"),
    [
        ("rotation", 0, True),
        ("rotation", 1, False),
        ("simclr", 3, True),
        ("simclr", -1, True),
        ("jigsaw", -1, False),
    ],
)
def test_head_of_what_a_stage_starts_from(tmp_path, before, pretext, selector, fits):
    """It shows before anything is trained that a pretext task leaves no projection head to fine-tune from."""
    chained = before == "a stage before"
    start = tmp_path / "x" / "pretrain" if chained else tmp_path / "other"
    arguments = (
        ["--train_mode=pretrain,finetune"]
        if chained
        else ["--train_mode=finetune", f"--checkpoint={start}"]
    )
    if not chained:
        start.mkdir()
        saved = parse_command_line(
            "--dataset=digits", f"--pretext={pretext}", f"--model_dir={start}"
        )[0][0].flat()
        (start / "flags.json").write_text(json.dumps(saved))
    built, _ = parse_command_line(
        "--dataset=digits",
        f"--model_dir={tmp_path / 'x'}",
        f"--pretext={pretext}",
        f"--ft_proj_selector={selector}",
        *arguments,
    )
    if fits:
        Stages(built)
    else:
        with pytest.raises(
            UserError,
            match=rf"{start}: its projection head has 0 layers \(--pretext={pretext}\).*--ft_proj_selector=0",
        ):
            Stages(built)


def test_table():
    results = {
        "pretrain": {
            "eval/knn_accuracy": 0.5,
            "untrained/knn_accuracy": 0.25,
            "labels": 20,
            "parameters": 1234567,
            "train_minutes": 1.26,
        },
        "distill": {
            "eval/knn_accuracy": 0.75,
            "eval/label_top_1_accuracy": 1.0,
            "labels": 20,
            "parameters": 10,
            "train_minutes": 0.5,
        },
    }
    lines = report.stages_table(results).splitlines()
    assert lines[2:] == [
        "| untrained network | 20 |  |  |  | 25.00% | 1,234,567 | 0.0 |",
        "| pretrain | 20 |  |  |  | 50.00% | 1,234,567 | 1.3 |",
        "| distill | 20 | 100.00% |  |  | 75.00% | 10 | 0.5 |",
    ]
    layered = {
        **results["pretrain"],
        "eval/task_accuracy": 0.9,
        "eval/task_loss": 0.25,
        "eval/task_chance": 1.3863,
        "eval/block_group2/linear_probe_accuracy": 0.6,
        "eval/linear_probe_accuracy": 0.55,
    }
    lines = report.stages_table({"pretrain": layered, "distill": results["distill"]}).splitlines()
    assert lines[0] == (
        "| stage | labels | own task | its loss (at chance) | block_group1, logistic regression | block_group2, logistic regression "
        "| block_group3, logistic regression | top 1 | top 5 | logistic regression | k-NN | parameters | minutes |"
    )
    assert (
        lines[3]
        == "| pretrain | 20 | 90.00% | 0.250 (1.386) |  | 60.00% |  |  |  | 55.00% | 50.00% | 1,234,567 | 1.3 |"
    )
    assert len({line.count("|") for line in lines}) == 1


def test_table_over_seeds(tmp_path, monkeypatch, capsys):
    """The mean and the spread of what all runs have, which differ in their seeds alone."""
    for seed, accuracy in enumerate((0.5, 0.75)):
        (tmp_path / str(seed)).mkdir()
        (tmp_path / str(seed) / "flags.json").write_text(
            json.dumps(
                {
                    "seed": seed,
                    "model_dir": str(seed),
                    "train_mode": "pretrain,finetune",
                    "image_size": 16,
                }
            )
        )
        stage = {
            "eval/knn_accuracy": accuracy,
            "evaluated_with": {},
            "labels": 20,
            "parameters": 10,
            "train_minutes": 1.0 + seed,
        }
        (tmp_path / str(seed) / "result.json").write_text(
            json.dumps({"pretrain": stage, **({"finetune": stage} if seed else {})})
        )
    monkeypatch.setattr("sys.argv", ["seeds", str(tmp_path / "0"), str(tmp_path / "1")])
    seeds.main()
    found = [
        line
        for line in capsys.readouterr().out.splitlines()
        if "pretrain" in line or "of 2 runs" in line
    ]
    assert found == [
        "mean of 2 runs",
        "| pretrain | 20 |  |  |  | 62.50% | 10 | 1.5 |",
        "greatest minus least of 2 runs",
        "| pretrain | 20 |  |  |  | 25.00% | 10 | 1.0 |",
    ]
    (tmp_path / "1" / "flags.json").write_text(
        json.dumps(
            {"seed": 1, "model_dir": "1", "train_mode": "pretrain,finetune", "image_size": 32}
        )
    )
    with pytest.raises(SystemExit) as ended:
        seeds.main()
    assert (
        ended.value.code == 2
        and f"1: image_size not as in {tmp_path / '0'}" in capsys.readouterr().err
    )
