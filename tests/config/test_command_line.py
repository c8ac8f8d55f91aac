"""Command line and YAML: who overrides whom, what is chosen for the user, and what is refused."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.configurations import parse_command_line
from tf_simclr import config
from tf_simclr.config import command_line, recipes
from tf_simclr.config.stages import CHECKPOINT_FLAGS, mode_of, separate_sections, stage_names
from tf_simclr.errors import UserError


@pytest.fixture(autouse=True)
def _new_folder(tmp_path, monkeypatch):
    """Run directories of the user, such as runs/digits_finetune, are not looked at."""
    monkeypatch.chdir(tmp_path)


def parse(*arguments):
    """(flat configuration of the only or the last stage, notes) of a command line."""
    configs, notes = parse_stages(*arguments)
    *_, last = configs.values()
    return last, notes


def parse_stages(*arguments):
    """({model_dir: flat configuration}, notes) of a command line."""
    configs, notes = parse_command_line(*arguments)
    return {settings.train.model_dir: settings.flat() for settings in configs}, notes


def refused(*arguments):
    with pytest.raises(UserError) as caught:
        parse(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def yaml_file(tmp_path, text, name="my.yaml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_of_the_command_line_are_those_of_the_fields():
    values, _ = parse("--dataset=imagenet2012")
    assert values == {**config.Config().flat(), "model_dir": "runs/imagenet2012_pretrain"}


@pytest.mark.parametrize(
    ("argument", "name", "expected"),
    [
        ("--learning_rate=1e-4", "learning_rate", 1e-4),
        ("-learning_rate=2", "learning_rate", 2.0),
        ("--crop_area=0.2,1", "crop_area", (0.2, 1.0)),
        ("--fine_tune_after_block=-1", "fine_tune_after_block", -1),
        ("--nouse_blur", "use_blur", False),
        ("--use_blur", "use_blur", True),
        ("--use_blur=yes", "use_blur", True),
        ("--use_blur=off", "use_blur", False),
        ("--use_tpu=False", "use_tpu", False),
        ("--use_tpu=0", "use_tpu", False),
        ("--train_split=train[:90%]+test", "train_split", "train[:90%]+test"),
    ],
)
def test_spellings(argument, name, expected):
    values, _ = parse("--dataset=digits", argument)
    value = values[name]
    assert value == expected and type(value) is type(expected)


def test_value_as_an_argument_of_its_own_and_the_last_one_counts():
    values, _ = parse("--dataset", "digits", "--seed", "3", "--seed=4")
    assert values["seed"] == 4


@pytest.mark.parametrize(
    ("arguments", "received", "hint"),
    [
        (["--learning_rat=1"], "--learning_rat", "'--learning_rate'"),
        (["--confg=x"], "--confg", "'--config'"),
        (["--nouse_blurr"], "--nouse_blurr", "'--use_blur'"),
        (["--nolearning_rate"], "--nolearning_rate", "'--learning_rate'"),
        (["--learning_rate"], "--learning_rate", "--name=value"),
        (["--learning_rate", "--use_blur"], "--use_blur", "0.3"),
        (["digits"], "'digits'", "--name=value"),
        (["--nouse_blur=3"], "--nouse_blur=3", "--name=value"),
        (["--use_blur=ja"], "--use_blur=ja", "true or false"),
        (["--train_steps=many"], "--train_steps=many", "--train_steps=0"),
        (["--optimizer=sgd"], "--optimizer=sgd", "momentum, adam, lars"),
        (["--config=digits_quickstrat"], "digits_quickstrat", "'digits_quickstart'"),
        (["--config=/none/there.yaml"], "/none/there.yaml", "digits_quickstart"),
        (["--config=" + "x" * 400], "xxx", "digits_quickstart"),
        (["--flagfile=/none/there"], "/none/there", "flagfile"),
    ],
)
def test_wrong_command_line(arguments, received, hint):
    message = refused(*arguments)
    assert received in message and hint in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("learning_rat: 1", "'learning_rate'"),
        ("image_size: [1", "can't be read as YAML"),
        ("- a\n- b", "list"),
        ("", "NoneType"),
        ("just text", "str"),
        ("temperature: .nan", "--temperature=nan"),
        ("temperature: .inf", "--temperature=inf"),
        ("train_steps: -1", "--train_steps=-1"),
        ("proj_head_mode: linar", "'linear'"),
        ("dataset: [digits]", "text"),
        ("checkpoint:", "text"),
        ("use_blur: perhaps", "true or false"),
        ("eval_name: 2001-99-99", "can't be read as YAML"),  # not a date, PyYAML raises ValueError
        ("[" * 1000, "can't be read as YAML"),
        ("1: 2", "unknown key '1'"),
    ],
)
def test_wrong_yaml_names_the_file(tmp_path, text, expected):
    message = refused(f"--config={yaml_file(tmp_path, text)}")
    assert "my.yaml" in message and expected in message


def test_yaml_that_is_no_text(tmp_path):
    (tmp_path / "my.yaml").write_bytes(b"\xff\xfe\x00dataset: digits")
    assert "can't be read as YAML" in refused(f"--config={tmp_path / 'my.yaml'}")


def test_flags_override_yaml_and_yaml_the_defaults(tmp_path):
    path = yaml_file(
        tmp_path,
        "dataset: cifar10\nlearning_rate: 1e-4\nseed: 5\nuse_blur: no\ncrop_area: [0.2, 1.0]\n",
    )
    values, notes = parse(f"--config={path}", "--seed=7", "--dataset=digits", "--use_blur")
    assert (values["dataset"], values["seed"], values["use_blur"]) == ("digits", 7, True)
    assert (values["learning_rate"], values["crop_area"]) == (1e-4, (0.2, 1.0))
    assert values["temperature"] == config.Config().objective.temperature
    assert values["model_dir"] == "runs/my" and notes == []


def test_a_flag_with_its_default_value_still_overrides_yaml(tmp_path):
    path = yaml_file(tmp_path, "dataset: digits\nseed: 5\nuse_blur: false\n")
    values, _ = parse(f"--config={path}", "--seed=0", "--use_blur=True")
    assert (values["seed"], values["use_blur"]) == (0, True)


def test_quick_start_is_chosen_and_said():
    configs, notes = parse_stages("--seed=3")
    recipe = recipes.read(recipes.CONFIG_DIR / f"{recipes.QUICK_START}.yaml")
    stages = recipe["train_mode"].split(",")
    assert list(configs) == [f"runs/{recipes.QUICK_START}/{stage}" for stage in stages]
    for stage, values in zip(stages, configs.values(), strict=True):
        assert values["dataset"] == "digits"
        assert (values["seed"], values["labels_per_class"]) == (3, 2)
        section = {**recipe[mode_of(stage)], **recipe[stage]}
        assert values["learning_rate"] == section["learning_rate"]
    assert len(notes) == 1 and recipes.QUICK_START in notes[0]


def test_a_budget_is_of_a_folder():
    """In a run that exists it would do nothing, and the quick start's length be another one."""
    assert "--budget=5m" in refused("--budget=5m") and "run.py PATH" in refused("--budget=5m")


def test_a_run_directory_brings_its_own_configuration(tmp_path):
    flags = {"dataset": "digits", "seed": 5, "model_dir": "elsewhere", "temperature": 0.25}
    saved = config.build(flags)
    yaml_file(tmp_path, json.dumps(saved.flat()), recipes.CONFIG_FILE)
    values, notes = parse(f"--model_dir={tmp_path}", "--mode=eval")
    assert values == saved.replace(model_dir=str(tmp_path), mode="eval").flat()
    assert len(notes) == 1 and str(tmp_path) in notes[0]
    for other in ("--dataset=digits", "--config=folder_example"):  # not where data are named
        values, _ = parse(f"--model_dir={tmp_path}", other)
        assert values["seed"] == 0


@pytest.mark.parametrize("text", ["{", "[]", '{"temperature": -1}', '{"temperatur": 1}'])
def test_broken_configuration_of_a_run_directory(tmp_path, text):
    yaml_file(tmp_path, text, recipes.CONFIG_FILE)
    assert recipes.CONFIG_FILE in refused(f"--model_dir={tmp_path}")


def test_new_run_directory_means_the_quick_start(tmp_path):
    values, notes = parse(f"--model_dir={tmp_path / 'new'}")
    assert values["dataset"] == "digits" and "quick start" in notes[0]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--dataset=folder:/data/birds/", "--train_steps=9"], "runs/birds_pretrain"),
        (["--dataset=digits", "--train_mode=finetune"], "runs/digits_finetune"),
        (["--dataset=digits", "--model_dir=x"], "x"),
    ],
)
def test_run_directory(arguments, expected):
    values, _ = parse(*arguments)
    assert values["model_dir"] == expected


@settings(deadline=None)
@given(
    model_dir=st.text(),
    eval_name=st.text(),
    learning_rate=st.floats(0, 1e30),
    area=st.floats(0.01, 1),
)
def test_what_is_written_is_read_again(tmp_path_factory, model_dir, eval_name, learning_rate, area):
    flags = {
        "model_dir": model_dir,
        "eval_name": eval_name,
        "learning_rate": learning_rate,
        "crop_area": (area, 1.0),
    }
    written = config.build(flags)
    path = tmp_path_factory.getbasetemp() / recipes.CONFIG_FILE
    path.write_text(json.dumps(written.flat()), encoding="utf-8")
    assert config.build(recipes.read(path)) == written


@settings(deadline=None)
@given(st.lists(st.text()))
def test_any_command_line_is_accepted_or_refused_in_one_line(arguments):
    try:
        parse(*arguments)
    except UserError as error:
        assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    "path", sorted(recipes.CONFIG_DIR.glob("*.yaml")), ids=lambda path: path.stem
)
def test_recipe_loads(path):
    configs, notes = parse_stages(f"--config={path.stem}")
    common, sections = separate_sections(recipes.read(path))
    stages = common.pop("train_mode", "pretrain").split(",")
    model_dir = f"runs/{path.stem}"
    is_chain = len(stages) > 1
    assert list(configs) == (
        [f"{model_dir}/{stage}" for stage in stages] if is_chain else [model_dir]
    )
    assert notes == []
    assert all(stage_names(stage) for stage in sections)
    for stage, values in zip(stages, configs.values(), strict=True):
        section = {**common, **sections.get(mode_of(stage), {}), **sections.get(stage, {})}
        for name, value in section.items():
            if name not in CHECKPOINT_FLAGS:
                assert values[name] == config.coerce(name, value)
    assert path.read_text().startswith("# ")


def test_recipes_exist():
    assert recipes.CONFIG_DIR.joinpath(f"{recipes.QUICK_START}.yaml").is_file()


def test_help_and_the_tables_of_the_docs_name_every_flag_once():
    text, tables = command_line.help_text(), command_line.markdown()
    unwrapped = " ".join(text.split())
    for name, field in config.fields().items():
        assert len(re.findall(rf"^  --{name}=", text, re.M)) == 1, name
        assert len(re.findall(rf"^\| `{name}` \|", tables, re.M)) == 1, name
        assert field.help in unwrapped and field.help in tables
        assert all(str(choice) in text for choice in field.choices or ())
    assert "  --config" in text


@pytest.mark.parametrize("columns", [60, 100])
def test_help_fits_into_the_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = command_line.help_text().removeprefix(command_line.USAGE).splitlines()
    breakable = [line for line in lines if len(line.split()) > 1]
    assert max(map(len, breakable)) <= columns
    begin = lines.index("  --label_fraction=1.0")
    assert lines[begin + 1].startswith("      share of the training labels")
    assert max(map(len, command_line.USAGE.splitlines())) <= 80


PUBLISHED = [  # the commands of the original SimCLR release for CIFAR-10 and ImageNet
    "--mode=train_then_eval --train_mode=pretrain --train_batch_size=512 --train_epochs=1000 "
    "--learning_rate=1.0 "
    "--weight_decay=1e-4 --temperature=0.5 --dataset=cifar10 --image_size=32 --eval_split=test "
    "--resnet_depth=18 "
    "--use_blur=False --color_jitter_strength=0.5 --model_dir=/tmp/simclr_test --use_tpu=False",
    "--mode=train_then_eval --train_mode=finetune --fine_tune_after_block=4 "
    "--zero_init_logits_layer=True "
    "--variable_schema=(?!global_step|(?:.*/|^)Momentum|head) --global_bn=False "
    "--optimizer=momentum --learning_rate=0.1 "
    "--weight_decay=0.0 --train_epochs=100 --train_batch_size=512 --warmup_epochs=0 "
    "--dataset=cifar10 --image_size=32 "
    "--eval_split=test --resnet_depth=18 --checkpoint=/tmp/simclr_test "
    "--model_dir=/tmp/simclr_test_ft --use_tpu=False",
    "--mode=train_then_eval --train_mode=pretrain --train_batch_size=4096 --train_epochs=100 "
    "--temperature=0.1 "
    "--learning_rate=0.075 --learning_rate_scaling=sqrt --weight_decay=1e-4 --dataset=imagenet2012 "
    "--image_size=224 "
    "--eval_split=validation --data_dir=gs://bucket/data --model_dir=gs://bucket/model "
    "--use_tpu=True --tpu_name=tpu "
    "--train_summary_steps=0",
]


@pytest.mark.parametrize("command", PUBLISHED)
def test_published_commands_are_taken_as_they_are(command):
    values, notes = parse(*command.split())
    retired = [name for name in command_line.RETIRED if f"--{name}=" in command]
    assert len(notes) == len(retired) and all(name in note for name, note in zip(retired, notes))
    assert values["learning_rate_scaling"] == ("sqrt" if "imagenet" in command else "linear")


def test_home_folder(monkeypatch):
    """Behind a `=` no shell expands it."""
    monkeypatch.setenv("HOME", "/home/me")
    values, _ = parse(
        "--dataset=folder:~/pictures",
        "--model_dir=~/runs/x",
        "--checkpoint=~/runs/y",
        "--train_steps=9",
    )
    assert values["dataset"] == "folder:/home/me/pictures"
    assert (values["model_dir"], values["checkpoint"]) == ("/home/me/runs/x", "/home/me/runs/y")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "cut"),
        (["--warmup_epochs=5"], "keep"),
        (["--warmup_epochs=5", "--long_warmup=cut"], "cut"),
    ],
)
def test_a_warmup_that_was_named_is_not_cut(arguments, expected):
    (settings,), _ = parse_command_line("--dataset=digits", *arguments)
    assert settings.resolved()["long_warmup"] == expected


def test_the_home_folder_is_known_where_a_run_is_followed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run = tmp_path / "run"
    run.mkdir()
    (run / recipes.CONFIG_FILE).write_text(json.dumps({"resnet_depth": 18, "image_size": 64}))
    for checkpoint in ("~/run", str(run)):
        flags, _ = parse("--mode=embed", f"--checkpoint={checkpoint}", "--dataset=folder:x")
        assert (flags["resnet_depth"], flags["image_size"]) == (18, 64)


def test_a_recipe_that_says_what_to_evaluate(tmp_path):
    """Its run is followed as one that is named on the command line."""
    run = tmp_path / "run"
    run.mkdir()
    (run / recipes.CONFIG_FILE).write_text(json.dumps({"resnet_depth": 18, "image_size": 64}))
    path = yaml_file(tmp_path, f"mode: embed\ncheckpoint: {run}\ndataset: folder:x\n")
    flags, _ = parse(f"--config={path}")
    assert (flags["mode"], flags["resnet_depth"], flags["image_size"]) == ("embed", 18, 64)
    flags, _ = parse(f"--config={path}", "--image_size=32")
    assert (flags["resnet_depth"], flags["image_size"]) == (18, 32)


@pytest.mark.parametrize("mode", ["train_then_eval", "eval"])
def test_a_recipe_that_says_what_a_training_starts_from(tmp_path, mode):
    """Its flags are not those of the recipe, whatever is done with the run that it has made."""
    run = tmp_path / "run"
    run.mkdir()
    (run / recipes.CONFIG_FILE).write_text(json.dumps({"color_jitter_strength": 0.25}))
    path = yaml_file(tmp_path, f"train_mode: finetune\ncheckpoint: {run}\ndataset: digits\n")
    flags, _ = parse(f"--config={path}", f"--mode={mode}", f"--model_dir={tmp_path / 'new'}")
    assert flags["color_jitter_strength"] == 1


def test_epochs_of_the_command_line_count_beside_steps_of_a_recipe(tmp_path):
    text = "train_mode: pretrain,finetune\ntrain_steps: 9\nfinetune:\n  train_steps: 5\n"
    path = yaml_file(tmp_path, text)
    for flag, lengths in (
        ("--train_epochs=7", [(7, 0), (7, 0)]),
        ("--finetune.train_epochs=7", [(100, 9), (7, 0)]),
    ):
        stages, _ = parse_stages(f"--config={path}", flag)
        assert [(stage["train_epochs"], stage["train_steps"]) for stage in stages.values()] == (
            lengths
        )


def test_flags_of_stages_in_a_file_of_flags(tmp_path):
    path = tmp_path / "flags.txt"
    path.write_text("--dataset=digits\n--train_mode=pretrain,finetune\n--finetune.seed=5\n")
    flags, _ = parse(f"--flagfile={path}")
    assert flags["seed"] == 5
    assert "give the path of a file" in refused("--flagfile=nowhere")
    path.write_bytes("--model_dir=müller".encode("latin-1"))
    assert "give the path of a file" in refused(f"--flagfile={path}")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("my.yaml", "seed: 1\nseed: 2\n"),
        ("my.yaml", "finetune: {seed: 1}\ntrain_mode: finetune\nfinetune: {learning_rate: 1}\n"),
        ("my.yaml", "train_mode: finetune\nfinetune:\n  seed: 1\n  seed: 1\n"),
        ("my.json", '{"seed": 1, "seed": 2}'),
    ],
)
def test_a_key_that_is_there_twice(tmp_path, name, text):
    path = yaml_file(tmp_path, text, name)
    assert "is there twice; give it once" in refused(f"--config={path}")


def test_keys_of_yaml_that_are_no_names(tmp_path):
    path = yaml_file(tmp_path, "? [a]\n: 1\n")
    assert "can't be read as YAML" in refused(f"--config={path}")
    text = (
        "train_mode: pretrain,finetune\npretrain: &a\n  seed: 1\nfinetune: &b\n  <<: *a\n"
        "  learning_rate: 0.5\nfinetune-two:\n  <<: *a\n  <<: *b\n"
    )
    path = yaml_file(tmp_path, text.replace("train_mode: ", "train_mode: finetune-two,"))
    flags, _ = parse_stages(f"--config={path}", f"--model_dir={tmp_path / 'x'}")
    assert {stage["seed"] for stage in flags.values()} == {1}
