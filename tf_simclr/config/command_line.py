"""Command line and YAML -> Config; the help text and the tables of docs/flags.md. No TensorFlow."""

import dataclasses
import os
import shutil
import textwrap
from collections.abc import Callable

from absl import flags as absl_flags

from tf_simclr import config
from tf_simclr.config import base_configuration, inheritance, planned_recipe
from tf_simclr.config.aliases import flag_hint
from tf_simclr.config.config import Config, Field
from tf_simclr.config.stage_flags import split_off_stage_flags
from tf_simclr.config.stages import separate_sections, stage_names, stage_values
from tf_simclr.config.values import FOLDER, as_text
from tf_simclr.errors import UserError

# In published commands of the original SimCLR release, without effect there.
RETIRED = ("variable_schema", "train_summary_steps")
PATH_FLAGS = ("dataset", "checkpoint", "teacher_checkpoint")  # what they name is looked at early
# {flag: the one beside it that counts first}; what is said of the first one has to count.
IN_STEPS = {"train_epochs": "train_steps", "checkpoint_epochs": "checkpoint_steps"}
CONFIG_HELP = (
    "a recipe of official_configs/ or the path of a YAML file; flags override it. auto: a recipe "
    "that is planned for the images, the machine and --budget, which is the default for "
    "--dataset=folder:PATH where no length of the training is given"
)
USAGE = """\
SimCLR, SimCLRv2 and seven classic pretext tasks: pretraining without labels,
fine-tuning, evaluation, export.

  python run.py --mode=train_then_eval
      the quick start: scikit-learn's digits, a few minutes on a CPU
  python run.py --mode=train_then_eval --config=NAME
      a recipe of official_configs/, or the path of a YAML file
  python run.py FOLDER --budget=30m
      images of your own: a recipe is planned for them and the time, then
      trained and evaluated
  python run.py --mode=eval --model_dir=RUN
      an existing run, with its own configuration
  python run.py --mode=export --model_dir=RUN --export_formats=tflite,onnx
  python run.py --mode=embed --model_dir=RUN --dataset=folder:PATH
      embeddings, predictions and nearest neighbors of images
  python run.py --mode=select --model_dir=RUN
      which images to label, and a page to label them on
  python run.py --mode=search --query=FILE --model_dir=RUN --dataset=folder:PATH
      the images that are most like some
  python run.py --mode=predict --model_dir=RUN --dataset=folder:PATH
      a table of predictions
  python run.py --mode=inspect --model_dir=RUN --dataset=folder:PATH
      what is wrong with images: copies, leaks, outliers, doubtful labels
  python run.py --mode=report --report_runs=RUN,RUN --model_dir=NEW
      one page over several runs
  python run.py --train_mode=pretrain,finetune,distill ...
      stages one after the other; --finetune.learning_rate=0.1 is for one alone
"""
HELP_INDENT = 6  # columns, as in USAGE
PAGE_HEAD = """\
# Flags

This page is generated from `tf_simclr/config/sections.py` and the files beside it. To regenerate
it, run `python -m tf_simclr.config.command_line > docs/flags.md`. Each table is a section of the
configuration. A flag is written `--name=value` on the command line and `name: value` in a YAML
file.

"""


def define(flag_values: absl_flags.FlagValues):
    """Defines --config and every field of the configuration as an absl flag."""
    for name in RETIRED:
        absl_flags.DEFINE_string(name, None, "ignored", flag_values=flag_values)
    absl_flags.DEFINE_string("config", "", CONFIG_HELP, flag_values=flag_values)
    for name, field in config.fields().items():
        if field.type is bool:
            absl_flags.DEFINE_bool(name, field.default, field.help, flag_values=flag_values)
            flag_values[name].parser = absl_flags.ArgumentParser()  # as text, like the others
        else:  # the text is converted by config.coerce, in one place for YAML and command line
            absl_flags.DEFINE_string(
                name, _default_text(field), field.help, flag_values=flag_values
            )


def parse(
    argv: list[str],
    flag_values: absl_flags.FlagValues,
    make_recipe: Callable[[dict, dict], dict] | None = None,
) -> tuple[list[Config], list[str]]:
    """Turns a command line into configurations.

    Args:
        argv: name of the program, flags, and at most one folder of images.
        flag_values: with the flags that `define` defines.
        make_recipe: what --config=auto calls, a function of {flag name: value} and {stage: {flag
            name: value}} of the command line -> content of a recipe; None: nothing can be planned.

    Returns:
        (a configuration for each stage, what was decided for the user as lines to log).

    Raises:
        UserError: unknown flag or key, value out of range, missing or unreadable YAML file.
    """
    arguments, stage_flags = split_off_stage_flags(_with_flag_files(argv, flag_values))
    separate_sections(stage_flags)
    folder = _read_flags(arguments, flag_values)
    flags = {name: flag_values[name].value for name in config.fields() if flag_values[name].present}
    if folder:
        flags = {"dataset": folder, "mode": "train_then_eval", **flags}
    for named_flags in (flags, *stage_flags.values()):
        _complete(named_flags)
    base = base_configuration.choose(flag_values["config"].value, flags)
    if not flags.get("model_dir", base.values.get("model_dir")):
        flags["model_dir"] = f"runs/{base.name or _slug({**base.values, **flags})}"
    if base.is_planned:
        values, note = planned_recipe.content(flags, stage_flags, make_recipe)
        base = dataclasses.replace(base, values=values, note=note)
    common, sections = separate_sections(base.values)
    notes = [
        f"--{name} is accepted for old commands and does nothing"
        for name in RETIRED
        if flag_values[name].present
    ]
    if base.note:
        notes.append(base.note)
    stages = stage_values(common, sections, flags, stage_flags)
    configs, inherited = inheritance.inherit(stages)
    return configs, notes + inherited


def _with_flag_files(argv, flag_values):
    """The command line with what is in the files of --flagfile."""
    try:
        return flag_values.read_flags_from_files(argv)
    except (absl_flags.Error, ValueError) as error:
        raise UserError(
            f"--flagfile: {error}; give the path of a file with a flag in each line"
        ) from None


def _complete(flags):
    """Changes the flags of a command line to what they mean."""
    for name in PATH_FLAGS:
        if name in flags:
            flags[name] = config.coerce(name, flags[name])  # ~ is the home directory
    if "warmup_epochs" in flags:
        flags.setdefault("long_warmup", "keep")
    for epochs, steps in IN_STEPS.items():
        if epochs in flags:
            flags.setdefault(steps, 0)


def _read_flags(arguments, flag_values):
    """Reads the flags, and returns the data set of a folder that stands by itself, else ""."""
    try:
        rest = flag_values(arguments)[1:]
    except absl_flags.UnrecognizedFlagError as error:
        name = error.flagname
        hint = flag_hint(name, ["config", *config.fields()], prefix="--")
        raise UserError(f"unknown flag --{name}.{hint}") from None
    except (absl_flags.Error, ValueError) as error:
        raise UserError(f"{error}; write flags as --name=value") from None
    if not rest:
        return ""
    argument = rest[0]
    is_path = os.sep in argument and not argument.startswith("-")
    if len(rest) == 1 and is_path and not os.path.isdir(argument):
        raise UserError(f"{argument}: there is no such folder of images; give the path of one")
    if len(rest) > 1 or flag_values["dataset"].present or not os.path.isdir(argument):
        raise UserError(
            f"unexpected argument '{rest[-1]}': write flags as --name=value; only the path of one "
            "folder of images may stand by itself"
        )
    return FOLDER + argument


def _slug(values):
    """A name for a run that has none, of {flag name: value}."""
    defaults = {name: config.fields()[name].default for name in ("dataset", "train_mode")}
    dataset = str(values.get("dataset", defaults["dataset"]))
    stages = stage_names(str(values.get("train_mode", defaults["train_mode"])))
    return f"{base_configuration.folder_name({'dataset': dataset})}_{'_'.join(stages)}"


def help_text() -> str:
    """What `run.py --help` prints: each flag with its default, and beneath it what it means."""
    lines = [USAGE, *_help_lines("config", "", CONFIG_HELP)]
    for section, fields in _fields_by_section().items():
        lines.append(f"\n{section}")
        for name, field in fields.items():
            lines += _help_lines(name, _default_text(field), _help(field))
    return "\n".join(lines)


def _help_lines(name, default, meaning):
    indent = " " * HELP_INDENT
    width = shutil.get_terminal_size().columns
    wrapped = textwrap.wrap(
        meaning,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [f"  --{name}={default}", *wrapped]


def markdown() -> str:
    """The flags as Markdown tables by section, as they stand in docs/flags.md."""
    lines = []
    for section, fields in _fields_by_section().items():
        lines += [f"**{section}**", "", "| flag | default | meaning |", "|---|---|---|"]
        for name, field in fields.items():
            lines.append(f"| `{name}` | {_default_cell(field)} | {_help(field)} |")
        lines.append("")
    return "\n".join(lines)


def _fields_by_section() -> dict[str, dict[str, Field]]:
    sections = {}
    for name, field in config.fields().items():
        sections.setdefault(field.section, {})[name] = field
    return sections


def _help(field):
    if not field.choices:
        return field.help
    return f"{field.help} ({', '.join(map(str, field.choices))})"


def _default_cell(field):
    text = _default_text(field)
    return f"`{text}`" if text else ""


def _default_text(field):
    """The default as one would write it; numbers show their type, as in 1.0."""
    return as_text(field.default) if isinstance(field.default, tuple) else str(field.default)


if __name__ == "__main__":
    print(PAGE_HEAD + markdown().rstrip("\n"))
