"""Several stages in one run directory: `--train_mode=pretrain,finetune,distill`. No TensorFlow.

A stage is a training mode, or one with a suffix (`distill-small`) where a mode comes twice. A YAML
file gives it a section of its own name, over the settings that all stages share, and the command
line gives it `--distill-small.seed=1`, over the file; what is said of `distill` is for
`distill-small`, too.
"""

import os
import re

from tf_simclr import config
from tf_simclr.config.config import Config
from tf_simclr.config.registry import TEACHER_PRETEXTS, TRAIN_MODES
from tf_simclr.errors import UserError, did_you_mean

# The modes that take a flag which names a checkpoint, see `_modes_that_take`.
CHECKPOINT_FLAGS = {
    "checkpoint": ("pretrain", "finetune", "semi", "distill"),
    "teacher_checkpoint": ("distill",),
}
# Where a stage starts from if nothing is said: the nearest stage before it of one of these modes.
DEFAULT_STARTS = {
    ("checkpoint", "finetune"): ("pretrain",),
    ("checkpoint", "semi"): ("pretrain", "finetune"),
    ("teacher_checkpoint", "distill"): ("finetune", "semi", "distill"),
}
# What those flags accept.
CHECKPOINT_FORMS = (
    "a run directory, a directory of checkpoints, a checkpoint's prefix (…/ckpt-100), a published "
    "model (simclrv2:NAME, see --mode=weights) or a SavedModel"
)
# Besides the whole section hardware: one process has one of them.
SHARED_FLAGS = ("train_mode", "mode", "model_dir", "deterministic")
BEST_DIRECTORY = "best"  # in a run directory: the checkpoint that did best on held-out images


def mode_of(stage: str) -> str:
    """The training mode of a stage."""
    return stage.split("-")[0]


def stage_names(text: str) -> list[str]:
    """The names of the stages in `--train_mode=text`.

    Raises:
        UserError: a name that is not a training mode, or that comes twice.
    """
    names = [name.strip() for name in str(text).split(",")]
    for name in names:
        # It is the name of a directory, too.
        is_name = re.fullmatch(r"\w+(-\w+)?", name)
        if mode_of(name) not in TRAIN_MODES or not is_name:
            raise UserError(
                f"--train_mode={text}: accepted are {', '.join(TRAIN_MODES)}, or several with "
                "commas between, which run one after the other, each also with a suffix as in "
                f"distill-small.{did_you_mean(mode_of(name), TRAIN_MODES)}"
            )
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        name = repeated[0]
        raise UserError(
            f"--train_mode={text}: {name} is there twice; give the second a name of its own, "
            f"e.g. {name}-2"
        )
    return names


def separate_sections(values: dict) -> tuple[dict, dict]:
    """Separates the content of a YAML file into what is for all stages and what is for one.

    Args:
        values: {flag name: value, or name of a stage: {flag name: value}}.

    Returns:
        ({flag name: value} for all stages, {stage: {flag name: value}}).

    Raises:
        UserError: a section that is not a stage, or that sets what all stages share.
    """
    common = {}
    sections = {}
    for name, value in values.items():
        if mode_of(str(name)) not in TRAIN_MODES:
            common[name] = value
        elif isinstance(value, dict):
            sections[name] = value
        else:
            raise UserError(
                f"'{name}' is the section of a stage: lines of `name: value` are expected under "
                f"it, got {value}"
            )
    for stage, section in sections.items():
        for name in section:
            if _is_shared(name):
                raise UserError(
                    f"{name} stands in the section of {stage}: all stages share it, give it outside"
                )
    return common, sections


def _is_shared(name):
    field = config.fields().get(name)
    return name in SHARED_FLAGS or (field is not None and field.section == "hardware")


def stage_configs(
    common: dict, sections: dict, flags: dict | None = None, stage_flags: dict | None = None
) -> list[Config]:
    """A configuration for each stage; arguments and errors as those of `stage_values`."""
    stages = stage_values(common, sections, flags, stage_flags)
    return [config.build(values) for values in stages]


def stage_values(
    common: dict, sections: dict, flags: dict | None = None, stage_flags: dict | None = None
) -> list[dict]:
    """The flags of each stage of `train_mode`, in order: {flag name: value} of what is said.

    One stage alone has the run directory for itself; several have a directory in it each.

    Args:
        common: {flag name: value} for all stages, as `separate_sections` returns it.
        sections: {stage: {flag name: value}}, as `separate_sections` returns it.
        flags: as `common`, of the command line, which overrides both.
        stage_flags: as `sections`, of the command line, which overrides all.

    Raises:
        UserError: a stage, key or value that does not exist.
    """
    flags = flags or {}
    stage_flags = stage_flags or {}
    shared = {**common, **flags}
    names = stage_names(shared.get("train_mode", config.fields()["train_mode"].default))
    _check_stages_exist(stage_flags, names)
    root = str(shared.get("model_dir", "")).rstrip("/")
    is_chain = len(names) > 1
    directories = {}
    stages = []
    for stage in names:
        section = _section_of(stage, sections)
        own_flags = _section_of(stage, stage_flags)
        values = {**common, **section, **flags, **own_flags, "train_mode": mode_of(stage)}
        # What is said of all stages is said of this one only if there is no other.
        own = {**section, **own_flags} if is_chain else {**section, **flags, **own_flags}
        for flag in CHECKPOINT_FLAGS:
            values[flag] = _start(flag, stage, own=own, shared=shared, directories=directories)
        if is_chain:
            values["model_dir"] = f"{root}/{stage}"
        directories[stage] = values.get("model_dir")
        stages.append(values)
    _check_checkpoints_are_used(shared, stages, names)
    return stages


def _section_of(stage, sections):
    """What is said of a stage: under its mode, then under its name."""
    return {**sections.get(mode_of(stage), {}), **sections.get(stage, {})}


def _check_stages_exist(stage_flags, names):
    known = {*names, *map(mode_of, names)}
    for stage, flags in stage_flags.items():
        if stage not in known:
            raise UserError(
                f"--{stage}.{next(iter(flags))}: there is no such stage in "
                f"--train_mode={','.join(names)}.{did_you_mean(stage, names)}"
            )


def _check_checkpoints_are_used(shared, stages, names):
    for flag in CHECKPOINT_FLAGS:
        if not shared.get(flag):
            continue
        value = config.coerce(flag, shared[flag])
        if not any(config.coerce(flag, values[flag]) == value for values in stages):
            raise UserError(
                f"--{flag}={shared[flag]}: no stage of --train_mode={','.join(names)} takes it; "
                f"give it to one of them, e.g. --{names[-1]}.{flag}="
            )


def _start(flag, stage, *, own, shared, directories):
    """The value of a checkpoint flag for a stage.

    That of its own section (`pretrain` or `pretrain/best` name a stage), else the nearest stage
    before it that fits, else that of the chain.

    Args:
        flag: a key of `CHECKPOINT_FLAGS`.
        stage: its name.
        own: {flag name: value} that is said of this stage.
        shared: {flag name: value} that is said of all stages.
        directories: {stage: run directory} of the stages before.
    """
    if own.get(flag):
        return _resolve(flag, stage, own[flag], directories)
    mode = mode_of(stage)
    starts = DEFAULT_STARTS.get((flag, mode), ())
    fitting = [path for earlier, path in directories.items() if mode_of(earlier) in starts]
    if fitting:
        return fitting[-1]
    modes = _modes_that_take(flag, {**shared, **own})
    is_first = mode in modes and not any(mode_of(earlier) in modes for earlier in directories)
    return shared.get(flag, "") if is_first else ""


def _modes_that_take(flag, values):
    """The modes of stages that take a flag of `CHECKPOINT_FLAGS`, with these flags."""
    learns_from_teacher = values.get("pretext") in TEACHER_PRETEXTS
    if flag == "teacher_checkpoint" and learns_from_teacher:
        return ("pretrain", *CHECKPOINT_FLAGS[flag])
    return CHECKPOINT_FLAGS[flag]


def _resolve(flag, stage, value, directories):
    """A path, which may begin with the name of a stage before."""
    path = config.coerce(flag, value)
    name = path.removesuffix(f"/{BEST_DIRECTORY}")
    if name in directories:
        return directories[name] + path.removeprefix(name)
    if mode_of(name) in TRAIN_MODES and not os.path.exists(path):
        raise UserError(
            f"{flag}: {path} is to be where {stage} starts, and no stage of this name runs before "
            f"it; give a path, e.g. --{stage}.{flag}="
        )
    return path
