"""Several stages in one run directory, `--train_mode=pretrain,finetune,distill`: a configuration each. No TensorFlow here.

A stage is a training mode, or one with a suffix (`distill-small`) where a mode comes twice. A YAML file gives it a section
of its own name, over the settings that all stages share, and the command line gives it `--distill-small.seed=1`, over the file;
what is said of `distill` is for `distill-small`, too.
"""

import os
import re

from tf_simclr import config
from tf_simclr.config.registry import TRAIN_MODES
from tf_simclr.errors import UserError, did_you_mean

CHECKPOINT_FLAGS = {
    "checkpoint": ("pretrain", "finetune", "distill"),
    "teacher_checkpoint": ("distill",),
}  # {flag: modes that take it}
# Where a stage starts from if nothing is said: the nearest stage before it of one of these modes.
DEFAULT_STARTS = {
    ("checkpoint", "finetune"): ("pretrain",),
    ("teacher_checkpoint", "distill"): ("finetune", "distill"),
}
SHARED_FLAGS = (
    "train_mode",
    "mode",
    "model_dir",
    "deterministic",
)  # besides all of the section hardware: one process has one of them
CHECKPOINT_FORMS = "a run directory, a directory of checkpoints, a checkpoint's prefix (…/ckpt-100) or a SavedModel"  # what those flags accept
BEST_DIRECTORY = "best"  # in a run directory: the checkpoint that did best on held-out images
OWN_FLAGS = ("train_mode", "model_dir")  # what is never the same in two stages


def mode_of(stage):
    """The training mode of a stage."""
    return stage.split("-")[0]


def stage_names(text):
    """The names of the stages in `--train_mode=text`."""
    names = [name.strip() for name in str(text).split(",")]
    for name in names:
        if mode_of(name) not in TRAIN_MODES or not re.fullmatch(
            r"\w+(-\w+)?", name
        ):  # it is the name of a directory, too
            raise UserError(
                f"--train_mode={text}: accepted are {', '.join(TRAIN_MODES)}, or several with commas between, which run one after the other, "
                f"each also with a suffix as in distill-small.{did_you_mean(mode_of(name), TRAIN_MODES)}"
            )
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(
            f"--train_mode={text}: {twice[0]} is there twice; give the second a name of its own, e.g. {twice[0]}-2"
        )
    return names


def separate_sections(values):
    """({flag name: value} for all stages, {stage: {flag name: value}}) of a YAML file's content.

    Raises:
        UserError: a section that is not a stage, or that sets what all stages share.
    """
    common, sections = {}, {}
    for name, value in values.items():
        is_stage = mode_of(str(name)) in TRAIN_MODES
        if is_stage and not isinstance(value, dict):
            raise UserError(
                f"'{name}' is the section of a stage: lines of `name: value` are expected under it, got {value}"
            )
        (sections if is_stage else common)[name] = value
    fields = config.fields()
    for stage, section in sections.items():
        for name in section:
            if name in SHARED_FLAGS or (name in fields and fields[name].section == "hardware"):
                raise UserError(
                    f"{name} stands in the section of {stage}: all stages share it, give it outside"
                )
    return common, sections


def stage_configs(common, sections, given=(), given_sections=()):
    """A `Config` for each stage of `train_mode`, in order; one stage alone has the run directory for itself.

    Args:
        common, sections: as `separate` returns them. given, given_sections: the same of the command line, which overrides them.

    Raises:
        UserError: a stage, key or value that does not exist.
    """
    given, given_sections = dict(given), dict(given_sections)
    shared = {**common, **given}
    names = stage_names(shared.get("train_mode", config.fields()["train_mode"].default))
    strange = [stage for stage in given_sections if stage not in {*names, *map(mode_of, names)}]
    if strange:
        raise UserError(
            f"--{strange[0]}.{next(iter(given_sections[strange[0]]))}: there is no such stage in --train_mode={','.join(names)}.{did_you_mean(strange[0], names)}"
        )
    root, before, built = str(shared.get("model_dir", "")).rstrip("/"), {}, []
    for stage in names:
        mode = mode_of(stage)
        section, given_section = (
            {**every.get(mode, {}), **every.get(stage, {})} for every in (sections, given_sections)
        )
        values = {**common, **section, **given, **given_section, "train_mode": mode}
        own = {
            **section,
            **({} if len(names) > 1 else given),
            **given_section,
        }  # what is for all stages is not this one's own
        values |= {flag: _start(flag, stage, own, shared, before) for flag in CHECKPOINT_FLAGS}
        if len(names) > 1:
            values["model_dir"] = f"{root}/{stage}"
        before[stage] = values.get("model_dir")
        built.append(config.build(values))
    for flag in CHECKPOINT_FLAGS:
        if shared.get(flag) and not any(
            settings.flat()[flag] == config.coerce(flag, shared[flag]) for settings in built
        ):
            raise UserError(
                f"--{flag}={shared[flag]}: no stage of --train_mode={','.join(names)} takes it; give it to one of them, e.g. --{names[-1]}.{flag}="
            )
    return built


def _start(flag, stage, own, shared, before):
    """The value of a checkpoint flag for a stage: its own section's (`pretrain` or `pretrain/best` name a stage), the nearest fitting stage before it, the chain's."""
    mode = mode_of(stage)
    if own.get(flag):
        path = config.coerce(flag, own[flag])
        name = path.removesuffix(f"/{BEST_DIRECTORY}")
        if name in before:
            return before[name] + path.removeprefix(name)
        if mode_of(name) in TRAIN_MODES and not os.path.exists(path):
            raise UserError(
                f"{flag}: {path} is to be where {stage} starts, and no stage of this name runs before it; give a path, e.g. --{stage}.{flag}="
            )
        return path
    fitting = [
        directory
        for stage, directory in before.items()
        if mode_of(stage) in DEFAULT_STARTS.get((flag, mode), ())
    ]
    if fitting:
        return fitting[-1]
    first = mode in CHECKPOINT_FLAGS[flag] and not any(
        mode_of(stage) in CHECKPOINT_FLAGS[flag] for stage in before
    )
    return shared.get(flag, "") if first else ""


def sibling_runs(values):
    """{checkpoint flag: the name of a run that lies beside the run directory of these flags, or its best/}."""

    def whole(path):
        return path.rstrip("/") if "://" in path else os.path.abspath(path)

    beside = os.path.join(os.path.dirname(whole(values.get("model_dir") or ".")), "")
    paths = {flag: whole(values[flag]) for flag in CHECKPOINT_FLAGS if values.get(flag)}
    names = {
        flag: path.removeprefix(beside) for flag, path in paths.items() if path.startswith(beside)
    }
    return {
        flag: name
        for flag, name in names.items()
        if not os.path.dirname(name.removesuffix(f"/{BEST_DIRECTORY}"))
    }


def relocated(values, model_dir):
    """The flags of a single run, written down elsewhere, as they are with this `model_dir`: runs beside it are beside it still."""
    path = model_dir.rstrip("/")
    parent = (
        os.path.join(path, "..") if os.path.basename(path) in (".", "..") else os.path.dirname(path)
    )
    return {
        **values,
        "model_dir": model_dir,
        **{flag: os.path.join(parent, name) for flag, name in sibling_runs(values).items()},
    }


def combined_flags(built):
    """The configurations of a chain as one dict that `separate` and `configs` take: what they share, then a section each."""
    flats = {config.train.model_dir.rsplit("/", 1)[1]: config.flat() for config in built}
    names = {
        flat["model_dir"] + inside: stage + inside
        for stage, flat in flats.items()
        for inside in ("", f"/{BEST_DIRECTORY}")
    }
    first = next(iter(flats.values()))
    same = {
        name
        for name in first
        if name not in (*OWN_FLAGS, *CHECKPOINT_FLAGS)
        and all(flat[name] == first[name] for flat in flats.values())
    }
    root = first["model_dir"].rsplit("/", 1)[0]
    sections = {
        stage: {
            name: names.get(value, value) if name in CHECKPOINT_FLAGS else value
            for name, value in flat.items()
            if name not in same and name not in OWN_FLAGS
        }
        for stage, flat in flats.items()
    }
    return {
        "train_mode": ",".join(flats),
        "model_dir": root,
        **{name: first[name] for name in first if name in same},
        **sections,
    }
