"""Stages: their names, what each starts from, who overrides whom, and back to a file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.configurations import parse_command_line
from tf_simclr import config
from tf_simclr.commands.stages import Stages
from tf_simclr.config import recipes
from tf_simclr.config.registry import TRAIN_MODES
from tf_simclr.config.stage_directories import combined_flags, relocated, sibling_runs
from tf_simclr.config.stages import separate_sections, stage_configs
from tf_simclr.errors import UserError


def stages(*arguments):
    """{stage: flat configuration} of a command line."""
    configs, _ = parse_command_line("--dataset=digits", "--model_dir=runs/x", *arguments)
    flags_of = {}
    for settings in configs:
        stage = settings.train.model_dir.removeprefix("runs/x").lstrip("/")
        flags_of[stage] = settings.flat()
    return flags_of


def refused(*arguments):
    with pytest.raises(UserError) as caught:
        stages(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def starts(flags_of):
    """{stage: (checkpoint, teacher's checkpoint)}, stages before by their name."""
    paths = {}
    for stage, flags in flags_of.items():
        checkpoint = flags["checkpoint"].removeprefix("runs/x/")
        teacher = flags["teacher_checkpoint"].removeprefix("runs/x/")
        paths[stage] = (checkpoint, teacher)
    return paths


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
    only = stages("--train_mode=distill-small", "--teacher_checkpoint=T", "--checkpoint=P")
    assert list(only) == [""] and only[""]["train_mode"] == "distill"
    assert starts(only) == {"": ("P", "T")}


def test_sections_override_what_is_shared_and_the_command_line_both(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(
        "train_mode: pretrain,distill,distill-small\ndataset: digits\nlearning_rate: 1\nseed: 1\n"
        "distill: {learning_rate: 2, seed: 2, train_epochs: 5}\ndistill-small: {learning_rate: 3, "
        "width_multiplier: 0.5}\n"
    )
    flags_of = stages(
        f"--config={path}",
        "--train_epochs=7",
        "--pretrain.seed=4",
        "--distill.width_multiplier=2",
        "--distill-small.train_epochs=8",
    )
    names = ("learning_rate", "seed", "train_epochs", "width_multiplier")
    expected = {"pretrain": (1, 4, 7, 1), "distill": (2, 2, 7, 2), "distill-small": (3, 2, 8, 2)}
    for stage, flags in flags_of.items():
        assert tuple(flags[name] for name in names) == expected[stage]


def test_a_switch_needs_no_value():
    name = "probe_init_logits_layer"
    flags_of = stages(
        "--train_mode=pretrain,finetune,finetune-b,distill",
        f"--{name}",
        f"--finetune.no{name}",
        f"--finetune-b.{name}",
        "--distill.nodistill_unlabeled",
    )
    assert [flags[name] for flags in flags_of.values()] == [True, False, True, True]
    assert not flags_of["distill"]["distill_unlabeled"]


def test_a_flag_of_a_mode_is_for_all_its_stages():
    flags_of = stages("--train_mode=pretrain-a,pretrain-b", "--pretrain.seed=4")
    assert [flags["seed"] for flags in flags_of.values()] == [4, 4]


def test_one_mode_takes_its_section_of_a_chain():
    """The quick start's fine-tuning alone."""
    recipe = recipes.read(recipes.CONFIG_DIR / "digits_quickstart.yaml")
    flags_of = stages("--config=digits_quickstart", "--train_mode=finetune", "--checkpoint=P")
    flags = flags_of[""]
    assert flags["learning_rate"] == recipe["finetune"]["learning_rate"]
    assert flags["checkpoint"] == "P"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--train_mode=pretrain,finetun"], "'finetune'"),
        (["--train_mode=pretrain,"], "accepted are pretrain, finetune, supervised, semi, distill"),
        (["--train_mode=distill,distill"], "distill-2"),
        (["--train_mode=pretrain,distill-../x"], "distill-small"),
        (["--train_mode=pretrain", "--finetune.seed=1"], "no such stage in --train_mode=pretrain"),
        (["--train_mode=pretrain,finetune", "--finetune.learning_rat=1"], "'learning_rate'"),
        (["--train_mode=pretrain,finetune", "--finetune.learning_rat"], "'learning_rate'"),
        (["--train_mode=pretrain,finetune", "--finetune.learning_rate"], "learning_rate=value"),
        (
            ["--train_mode=pretrain,finetune", "--finetune.learning_rate=fast"],
            "--learning_rate=fast",
        ),
        (["--train_mode=pretrain", "--learning_rate", "-0.5"], "--learning_rate=-0.5"),
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
def test_wrong_stages(arguments, expected):
    assert expected in refused(*arguments)


@pytest.mark.parametrize(
    ("text", "expected"),
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
def test_wrong_sections(tmp_path, text, expected):
    (tmp_path / "my.yaml").write_text(f"dataset: digits\n{text}\n")
    message = refused(f"--config={tmp_path / 'my.yaml'}")
    assert "my.yaml" in message and expected in message


@pytest.mark.parametrize(
    ("saved", "checkpoint", "moved", "expected"),
    [
        ("runs/x/finetune", "runs/x/pretrain", "runs/y/finetune", "runs/y/pretrain"),
        ("runs/x/finetune", "runs/x/pretrain/", "./runs/x/finetune/", "./runs/x/pretrain"),
        ("runs/x/finetune", "runs/z", "runs/y/finetune", "runs/z"),
        ("a", "b", "c/a", "c/b"),
        ("a", "b", ".", "./../b"),
        ("gs://b/x/a", "gs://b/x/c", "gs://b/y/a", "gs://b/y/c"),
    ],
)
def test_a_run_is_moved_with_the_one_it_starts_from(saved, checkpoint, moved, expected):
    values = relocated({"model_dir": saved, "checkpoint": checkpoint, "seed": 1}, moved)
    assert values == {"model_dir": moved, "checkpoint": expected, "seed": 1}
    is_elsewhere = expected == "runs/z"
    name = expected.split("/")[-1]
    assert sibling_runs(values) == ({} if is_elsewhere else {"checkpoint": name})


MODE = st.sampled_from(TRAIN_MODES)
NAMES = st.lists(
    st.tuples(MODE, st.sampled_from(["", "-a", "-b"])).map("".join),
    min_size=2,
    max_size=5,
    unique=True,
)


FLAGS = {"seed": st.integers(0, 9), "learning_rate": st.floats(0, 1)}
SECTIONS = st.dictionaries(MODE, st.fixed_dictionaries({}, optional=FLAGS))


@given(NAMES, SECTIONS)
def test_combined_flags_give_the_same_stages(names, sections):
    """`flags.json` of a chain gives the same stages, also in another directory."""
    common = {"train_mode": ",".join(names), "model_dir": "runs/x", "dataset": "digits", "seed": 3}
    configs = stage_configs(common, sections)
    saved_common, saved_sections = separate_sections(combined_flags(configs))
    assert stage_configs(saved_common, saved_sections) == configs
    moved = stage_configs(saved_common, saved_sections, {"model_dir": "runs/y"})
    for name, settings in zip(names, moved, strict=True):
        assert settings.train.model_dir == f"runs/y/{name}"
        assert "runs/x" not in str(settings.flat())


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
    """A pretext task without a projection head to fine-tune from is refused before any training."""
    if before == "a stage before":
        start = tmp_path / "x" / "pretrain"
        arguments = ["--train_mode=pretrain,finetune"]
    else:
        start = tmp_path / "other"
        arguments = ["--train_mode=finetune", f"--checkpoint={start}"]
        start.mkdir()
        (saved,), _ = parse_command_line(
            "--dataset=digits", f"--pretext={pretext}", f"--model_dir={start}"
        )
        (start / "flags.json").write_text(json.dumps(saved.flat()))
    configs, _ = parse_command_line(
        "--dataset=digits",
        f"--model_dir={tmp_path / 'x'}",
        f"--pretext={pretext}",
        f"--ft_proj_selector={selector}",
        *arguments,
    )
    if fits:
        Stages(configs)
        return
    with pytest.raises(UserError) as caught:
        Stages(configs)
    message = str(caught.value)
    assert f"{start}: its projection head has 0 layers (--pretext={pretext})" in message
    assert "--ft_proj_selector=0" in message


def test_no_flag_is_called_like_a_stage():
    """In a YAML file a flag and the section of a stage are keys beside each other."""
    assert not set(TRAIN_MODES) & set(config.fields())
