"""The configuration: every flag with its default, what is accepted and what is refused."""

import ast
import dataclasses
import json
import math
import pathlib
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_simclr import config
from tf_simclr.config.sections import OptimizerConfig, TrainConfig
from tf_simclr.errors import Diverged, Interrupted, UserError, did_you_mean

ROOT = pathlib.Path(__file__).resolve().parents[2]

# The flags of the original SimCLR release (Google Research's code of SimCLR and SimCLRv2), in which
# the published commands are written. What is None there is '' here.
REFERENCE_DEFAULTS = {
    "learning_rate": 0.3,
    "learning_rate_scaling": "linear",
    "warmup_epochs": 10,
    "weight_decay": 1e-6,
    "batch_norm_decay": 0.9,
    "train_batch_size": 512,
    "train_split": "train",
    "train_epochs": 100,
    "train_steps": 0,
    "eval_steps": 0,
    "eval_batch_size": 256,
    "checkpoint_epochs": 1,
    "checkpoint_steps": 0,
    "eval_split": "validation",
    "dataset": "imagenet2012",
    "cache_dataset": False,
    "mode": "train",
    "train_mode": "pretrain",
    "lineareval_while_pretraining": True,
    "checkpoint": "",
    "zero_init_logits_layer": False,
    "fine_tune_after_block": -1,
    "master": "",
    "model_dir": "",
    "data_dir": "",
    "use_tpu": True,
    "tpu_name": "",
    "tpu_zone": "",
    "gcp_project": "",
    "optimizer": "lars",
    "momentum": 0.9,
    "eval_name": "",
    "keep_checkpoint_max": 5,
    "keep_hub_module_max": 1,
    "temperature": 0.1,
    "hidden_norm": True,
    "proj_head_mode": "nonlinear",
    "proj_out_dim": 128,
    "num_proj_layers": 3,
    "ft_proj_selector": 0,
    "global_bn": True,
    "width_multiplier": 1,
    "resnet_depth": 50,
    "sk_ratio": 0,
    "se_ratio": 0,
    "image_size": 224,
    "color_jitter_strength": 1.0,
    "use_blur": True,
}
TEXTS_OF_TRUE = (True, "true", "True", "TRUE", "t", "1", 1, "yes", "on")
TEXTS_OF_FALSE = (False, "false", "False", "f", "0", 0, "no", "off")
REFERENCE_CHOICES = {
    "learning_rate_scaling": {"linear", "sqrt"},
    "mode": {"train", "eval", "train_then_eval"},
    "train_mode": {"pretrain", "finetune"},
    "optimizer": {"momentum", "adam", "lars"},
    "proj_head_mode": {"none", "linear", "nonlinear"},
}


def refused(**values):
    """The message with which `values` are refused; one line that names each flag and value."""
    with pytest.raises(UserError) as caught:
        config.build(values)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def value_of(settings, name):
    return settings.flat()[name]


@pytest.mark.parametrize("name", REFERENCE_DEFAULTS)
def test_reference_flag_has_its_default(name):
    value = value_of(config.Config(), name)
    assert value == REFERENCE_DEFAULTS[name]
    assert isinstance(value, bool) == isinstance(REFERENCE_DEFAULTS[name], bool)


@pytest.mark.parametrize("name", REFERENCE_CHOICES)
def test_reference_choices_are_accepted(name):
    assert REFERENCE_CHOICES[name] <= set(config.fields()[name].choices)
    for choice in REFERENCE_CHOICES[name]:
        assert value_of(config.build({name: choice}), name) == choice


def test_every_field_is_documented_and_accepts_its_own_default_as_text():
    for name, field in config.fields().items():
        assert field.help, name
        text = str(field.default)
        if isinstance(field.default, tuple):
            text = ",".join(map(str, field.default))
        value = config.coerce(name, text)
        assert value == field.default and type(value) is type(field.default), name


def test_names_are_unique_over_the_sections():
    names = []
    for section in dataclasses.fields(config.Config):
        names += [field.name for field in dataclasses.fields(section.type)]
    assert len(names) == len(set(names)) == len(config.fields())


@pytest.mark.parametrize(
    ("name", "received", "expected"),
    [
        ("learning_rate", "1e-4", 1e-4),  # what YAML makes of 1e-4
        ("learning_rate", 1, 1.0),
        ("train_steps", "7", 7),
        ("train_steps", 7.0, 7),
        ("crop_area", [0.2, 1], (0.2, 1.0)),
        ("crop_area", "0.2,1", (0.2, 1.0)),
        ("crop_area", ["2e-1", "1"], (0.2, 1.0)),
        ("eval_name", 10, "10"),
        ("dataset", "folder:/a b", "folder:/a b"),
        ("resnet_depth", "18", 18),
        *(("use_blur", text, True) for text in TEXTS_OF_TRUE),
        *(("use_blur", text, False) for text in TEXTS_OF_FALSE),
    ],
)
def test_coercion(name, received, expected):
    value = value_of(config.build({name: received}), name)
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    ("name", "received", "hint"),
    [
        ("learning_rate", "fast", "--learning_rate=0.3"),
        ("learning_rate", -1, "--learning_rate=0"),
        ("learning_rate", "nan", "number"),
        ("learning_rate", math.nan, "number"),
        ("learning_rate", "inf", "number"),
        ("learning_rate", "1e999", "number"),
        ("learning_rate", True, "number"),
        ("learning_rate", None, "number"),
        ("learning_rate", [0.1], "number"),
        ("temperature", 0, "--temperature=0.1"),
        ("train_steps", 1.5, "whole number"),
        ("train_steps", "1.5", "whole number"),
        ("train_steps", math.inf, "whole number"),
        ("train_steps", 2**31, "2147483647"),
        ("train_batch_size", 0, "--train_batch_size=512"),
        ("image_size", "7", "--image_size=224"),
        ("use_blur", "maybe", "true or false"),
        ("use_blur", 2, "true or false"),
        ("use_blur", None, "true or false"),
        ("dataset", ["digits"], "text"),
        ("dataset", None, "text"),
        ("optimizer", "larz", "'lars'"),
        ("optimizer", "LARS", "'lars'"),
        ("resnet_depth", 49, "'50'"),
        ("resnet_depth", 1000, "'200'"),
        ("crop_area", "0.5", "two numbers"),
        ("crop_area", [0.1, 0.2, 0.3], "two numbers"),
        ("crop_area", 0.5, "two numbers"),
        ("crop_area", [0.1, math.nan], "two numbers"),
        ("crop_area", [True, 1.0], "two numbers"),
        ("crop_area", [0, 1], "--crop_area=0.08,1"),
        ("crop_area", [0.5, 2], "--crop_area=0.5,1"),
        ("crop_area", [1, 0.5], "--crop_area=0.5,1"),
        ("label_fraction", 0, "--label_fraction=1"),
        ("ft_proj_selector", 4, "at most 3"),
    ],
)
def test_bad_value_is_refused_with_a_way_out(name, received, hint):
    message = refused(**{name: received})
    assert hint in message
    text = "" if isinstance(received, list) else received
    assert message.startswith(f"--{name}={text}")


def test_unknown_key_names_the_nearest():
    message = refused(learning_rat=1)
    assert "unknown key 'learning_rat'" in message and "'learning_rate'" in message
    with pytest.raises(UserError, match="unknown key '3'"):
        config.build({3: 4})  # YAML has such keys


def test_flags_that_exclude_each_other():
    assert "labels_per_class" in refused(labels_per_class=4, label_fraction=0.5)
    assert "at most 1" in refused(proj_head_mode="linear", ft_proj_selector=2)
    assert "at most 0" in refused(proj_head_mode="none", ft_proj_selector=1)
    assert "at least 2" in refused(pretext="counting", train_batch_size=1)
    config.build({"pretext": "counting", "train_batch_size": 1, "train_mode": "finetune"})
    config.build({"num_proj_layers": 5, "ft_proj_selector": 5})
    config.build({"proj_head_mode": "none", "ft_proj_selector": -1})


def test_a_configuration_made_in_code_is_checked_too():
    for bad in ({"learning_rate": math.nan}, {"learning_rate": "fast"}, {"learning_rate": -1}):
        with pytest.raises(UserError, match="learning_rate"):
            config.Config(optimizer=OptimizerConfig(**bad))


def test_configuration_cannot_be_written_to():
    default = config.Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        default.train.mode = "eval"
    with pytest.raises(dataclasses.FrozenInstanceError):
        default.train = TrainConfig()


def test_replace_changes_only_what_is_named():
    original = config.build({"seed": 3, "crop_area": "0.5,1"})
    flags = original.flat()
    changed = original.replace(seed=4).flat()
    assert {name for name in flags if changed[name] != flags[name]} == {"seed"}
    assert config.build(flags) == original
    assert config.build(json.loads(json.dumps(flags))) == original


def test_error_is_one_line_whatever_the_value():
    assert len(str(UserError("a\nb\r\nc\u2028d")).splitlines()) == 1
    assert "a b" in refused(image_size="a\nb")


def test_exit_statuses():
    errors = (UserError(""), Diverged(""), Interrupted("", 15))
    assert [error.status for error in errors] == [2, 1, 143]
    assert Interrupted("", 2).status == 130


VALUES = st.one_of(
    st.text(),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.dates(),
    st.integers().map(str),
    st.floats().map(str),
    st.lists(st.one_of(st.floats(), st.text()), max_size=3),
    st.tuples(st.floats(), st.floats()).map(lambda pair: f"{pair[0]},{pair[1]}"),
)


@settings(deadline=None)
@given(name=st.sampled_from(list(config.fields())), value=VALUES)
def test_any_value_is_accepted_or_refused_in_one_line_with_a_hint_that_works(name, value):
    try:
        built = config.build({name: value})
    except UserError as error:
        message = str(error)
        assert len(message.splitlines()) == 1 and message.startswith(f"--{name}=")
        hint = re.search(rf"(?:e\.g\. --{name}=(\S*)|Did you mean '(.*)'\?)$", message)
        if name != "ft_proj_selector" or hint:  # its limit depends on another flag
            example, meant = hint.groups()
            config.build({name: meant if example is None else example})
    else:
        stored = value_of(built, name)
        assert config.build({name: stored}) == built
        kind = config.fields()[name].type
        assert isinstance(stored, kind if isinstance(kind, type) else tuple)


@settings(deadline=None)
@given(name=st.text())
def test_any_unknown_key_is_refused(name):
    if name not in config.fields():
        assert "unknown key" in refused(**{name: 1})


@settings(deadline=None)
@given(name=st.text(), names=st.lists(st.text()))
def test_nearest_of_any_names(name, names):
    hint = did_you_mean(name, names)
    if names:
        assert hint in {f" Did you mean '{candidate}'?" for candidate in names}
    else:
        assert hint == ""


def words_read(path):
    """Attributes that are read and whole texts in quotes, in the code of a file."""
    words = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            words.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words.add(node.value)
    return words


def test_no_flag_that_nothing_reads():
    """What only checks a flag does not count: a rule is no use of it."""
    modules = (ROOT / "tf_simclr").rglob("*.py")
    files = [path for path in modules if path.parent.name != "config"]
    files.append(ROOT / "tf_simclr/config/held_out_choices.py")  # a table that commands go by
    words = set().union(*map(words_read, [*files, ROOT / "run.py"]))
    assert {name for name in config.fields() if name not in words} == set()


def test_no_tensorflow_before_it_is_needed():
    code = """
import sys
LIBRARIES = {"tensorflow", "keras", "sklearn", "tensorflow_datasets"}
def heavy(): return sorted(LIBRARIES & set(sys.modules))
import tf_simclr, tf_simclr.config, tf_simclr.config.command_line
assert not heavy(), heavy()
import run
assert run.main(["run.py", "--help"]) == 0
assert run.main(["run.py", "--bogus=1"]) == 2
assert not heavy(), heavy()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--learning_rate=0.3" in done.stdout and "unknown flag --bogus" in done.stderr
