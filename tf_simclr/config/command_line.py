"""Command line and YAML -> Config; the help text and the flag tables of README. No TensorFlow here."""

import os
import re

from absl import flags
from etils import epath

from tf_simclr import config
from tf_simclr.config import recipes
from tf_simclr.config.stages import relocated, separate_sections, stage_configs, stage_names
from tf_simclr.errors import UserError, did_you_mean

RETIRED = (
    "variable_schema",
    "train_summary_steps",
)  # in published commands of the papers' code, without effect there
USAGE = """\
SimCLR, SimCLRv2 and seven classic pretext tasks: pretraining without labels, fine-tuning, evaluation, export.

  python run.py --mode=train_then_eval                      the quick start: scikit-learn's digits, a few minutes on a CPU
  python run.py --mode=train_then_eval --config=NAME        a recipe of official_configs/, or the path of a YAML file
  python run.py --mode=train_then_eval --dataset=folder:PATH --model_dir=RUN
  python run.py --mode=eval --model_dir=RUN                 an existing run, with its own configuration
  python run.py --mode=export --model_dir=RUN --export_formats=saved_model,tflite,onnx
  python run.py --mode=embed --model_dir=RUN --dataset=folder:PATH   embeddings, predictions and nearest neighbours of images
  python run.py --mode=report --report_runs=RUN,RUN --model_dir=NEW  one page over several runs
  python run.py --train_mode=pretrain,finetune,distill ...  stages one after the other; --finetune.learning_rate=0.1 is for one of them
"""
STAGE_FLAG = re.compile(r"--?([\w-]+)\.(\w+)=(.*)", re.DOTALL)


def define(flag_values):
    """Defines --config and every field of the configuration as an absl flag."""
    for name in RETIRED:
        flags.DEFINE_string(name, None, "ignored", flag_values=flag_values)
    flags.DEFINE_string(
        "config",
        "",
        "a recipe of official_configs/ or the path of a YAML file; flags override it",
        flag_values=flag_values,
    )
    for name, field in config.fields().items():
        if field.type is bool:
            flags.DEFINE_bool(name, field.default, field.help, flag_values=flag_values)
            flag_values[name].parser = flags.ArgumentParser()  # as text, like the others
        else:  # the text is converted by config.coerce, in one place for YAML and command line
            flags.DEFINE_string(name, _text(field.default), field.help, flag_values=flag_values)


def parse(argv, flag_values):
    """What a command line asks for.

    Returns:
        ([Config], notes): a configuration for each stage, and what was decided for the user, as lines to log.

    Raises:
        UserError: unknown flag or key, value out of range, missing or unreadable YAML file.
    """
    matches = {argument: STAGE_FLAG.fullmatch(argument) for argument in argv}
    given_sections = {}
    for stage, name, value in (match.groups() for match in matches.values() if match):
        given_sections.setdefault(stage, {})[name] = value
    separate_sections(given_sections)
    try:
        rest = flag_values([argument for argument in argv if not matches[argument]])[1:]
    except flags.UnrecognizedFlagError as error:
        raise UserError(
            f"unknown flag --{error.flagname}.{did_you_mean(error.flagname, ['config', *config.fields()])}"
        ) from None
    except (flags.Error, ValueError) as error:
        raise UserError(f"{error}; write flags as --name=value") from None
    if rest:
        raise UserError(f"unexpected argument '{rest[0]}': write flags as --name=value")
    retired = [
        f"--{name} is accepted for old commands and does nothing"
        for name in RETIRED
        if flag_values[name].present
    ]
    given = {name: flag_values[name].value for name in config.fields() if flag_values[name].present}
    base, name, notes = _base(flag_values["config"].value, given)
    common, sections = separate_sections(base)
    if not given.get("model_dir", common.get("model_dir")):
        given["model_dir"] = f"runs/{name or _slug({**common, **given})}"
    return stage_configs(common, sections, given, given_sections), retired + notes


def _base(config, given):
    """What the flags override: (values, name of the configuration, notes)."""
    if config:
        path = recipes.find(config)
        return recipes.read(path), path.stem, []
    if "dataset" in given:
        return {}, "", []
    saved = epath.Path(os.path.expanduser(given.get("model_dir", "")), recipes.CONFIG_FILE)
    if given.get("model_dir") and recipes.is_file(saved):
        return (
            relocated(recipes.read(saved), given["model_dir"]),
            "",
            [
                f"neither --config nor --dataset is given: going on with the configuration of this run, {saved}"
            ],
        )
    if given.get("mode") == "report" and given.get("report_runs"):
        if not given.get("model_dir"):
            raise UserError(
                "--mode=report: give a new directory as --model_dir, where the report of --report_runs is to be"
            )
        return {}, "", []
    if given.get("mode") in (
        "eval",
        "export",
        "embed",
        "report",
    ):  # of something that is there, so not of the quick start
        if not (given.get("checkpoint") and given.get("model_dir")):
            raise UserError(
                f"--mode={given['mode']}: {given.get('model_dir') or 'no --model_dir is given, which'} has no {recipes.CONFIG_FILE}; "
                "give the directory of a run as --model_dir, or weights as --checkpoint and a new --model_dir"
            )
        return {}, "", []
    return (
        recipes.read(recipes.find(recipes.QUICK_START)),
        recipes.QUICK_START,
        [
            f"neither --config nor --dataset is given: this is the quick start, --config={recipes.QUICK_START}"
        ],
    )


def help_text():
    """What `run.py --help` prints."""
    lines = [
        USAGE,
        "  --config: a recipe of official_configs/ or the path of a YAML file; flags override it",
    ]
    for section, rows in _sections().items():
        lines.append(f"\n{section}")
        lines += [f"  --{name}={_text(field.default)}: {_help(field)}" for name, field in rows]
    return "\n".join(lines)


def markdown():
    """The flags as Markdown tables by section, as they stand in README."""
    lines = []
    for section, rows in _sections().items():
        lines += [f"**{section}**", "", "| flag | default | meaning |", "|---|---|---|"]
        lines += [f"| `{name}` | {_cell(field.default)} | {_help(field)} |" for name, field in rows]
        lines.append("")
    return "\n".join(lines)


def _sections():
    sections = {}
    for name, field in config.fields().items():
        sections.setdefault(field.section, []).append((name, field))
    return sections


def _help(field):
    return field.help + (f" ({', '.join(map(str, field.choices))})" if field.choices else "")


def _cell(default):
    return f"`{_text(default)}`" if _text(default) else ""


def _text(value):
    return (
        ",".join(v if isinstance(v, str) else f"{v:g}" for v in value)
        if isinstance(value, tuple)
        else str(value)
    )


def _slug(values):
    """A name for a run that has none, of {flag name: value}."""
    defaults = {name: config.fields()[name].default for name in ("dataset", "train_mode")}
    dataset, stages = (str(values.get(name, default)) for name, default in defaults.items())
    return f"{dataset.rstrip('/').replace('folder:', '').split('/')[-1] or 'folder'}_{'_'.join(stage_names(stages))}"
