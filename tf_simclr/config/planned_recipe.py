"""When a recipe is planned, and the one that a run directory has. No TensorFlow."""

import os
from collections.abc import Callable

from etils import epath

from tf_simclr import config
from tf_simclr.config import recipes
from tf_simclr.config.automatic import AUTO
from tf_simclr.config.held_out_choices import CANDIDATES
from tf_simclr.config.label_tables import NO_LABELS
from tf_simclr.config.length import LENGTH_FLAGS
from tf_simclr.config.plan_section import seconds_of
from tf_simclr.config.registry import Mode
from tf_simclr.config.stages import separate_sections, stage_names
from tf_simclr.config.values import FOLDER, data_set
from tf_simclr.errors import UserError


def is_default(flags: dict, mode: Mode) -> bool:
    """Whether a command line without --config is a training on a folder that has to be planned.

    One that gives its length has not, unless it names the time, too.

    Args:
        flags: {flag name: value} of the command line.
        mode: what --mode does.
    """
    is_folder = data_set(str(flags.get("dataset", ""))).startswith(FOLDER)
    has_length = "budget" not in flags and any(name in flags for name in LENGTH_FLAGS)
    return is_folder and mode.trains and not has_length


def content(
    flags: dict, stage_flags: dict, make_recipe: Callable[[dict, dict], dict] | None
) -> tuple[dict, str]:
    """The recipe that was planned before in the run directory, or else a new one.

    A recipe for other images or labels, of which nothing was trained, is planned anew.

    Args:
        flags: {flag name: value} of the command line, with model_dir.
        stage_flags: {stage: {flag name: value}} of the command line.
        make_recipe: plans a recipe; None: nothing can be planned.

    Returns:
        (content of the recipe, a line for the log or an empty text).

    Raises:
        UserError: the recipe that is there was planned for another budget, or for other images or
            labels, and stages of it were trained.
    """
    path = epath.Path(os.path.expanduser(flags["model_dir"]), recipes.PLANNED_FILE)
    if not recipes.is_file(path):
        return _planned(flags, stage_flags, make_recipe), ""
    values = recipes.read(path)
    begun = _begun(path.parent, values)
    changes = [
        (name, said, planned)
        for name, said, planned in _changes_of_data(values, flags, stage_flags)
        # What a stage is given wins where others have begun, and not this one.
        if "." not in name or not begun or name.split(".")[0] in begun
    ]
    if changes:
        name, said, planned = changes[0]
        change = f"what is in {path} was planned for --{name}={planned}"
        if not begun:
            note = f"--{name}={said}: {change}, and nothing was trained: it is planned anew"
            return _planned(flags, stage_flags, make_recipe), note
        way_out = "another --model_dir"
        if name == "labels" and said != NO_LABELS:
            start = path.parent / "pretrain" if "pretrain" in begun else path.parent
            way_out += f", to learn these with --train_mode=finetune,distill --checkpoint={start}"
        raise UserError(
            f"--{name}={said}: {change}, and its training has begun; give that to resume it, or "
            f"{way_out}"
        )
    planned = values.get("budget", config.fields()["budget"].default)
    budget = flags.get("budget", planned)
    if not _is_same_time(budget, planned):
        raise UserError(
            f"--budget={budget}: what is in {path} was planned for {planned}; leave --budget out "
            "to resume it, or give another --model_dir"
        )
    return values, f"the plan of this run is kept: {path}"


def _planned(flags, stage_flags, make_recipe):
    if make_recipe is None:
        raise UserError(f"--config={recipes.AUTO}: nothing can be planned here; give a recipe")
    return make_recipe(flags, stage_flags)


def _begun(directory, values):
    """The stages of a recipe that were trained, or candidates for them; of a single one its files.

    Those of a run without stages are in the directory itself.
    """
    stages = stage_names(values.get("train_mode", config.fields()["train_mode"].default))
    names = (*stages, CANDIDATES, recipes.CONFIG_FILE)
    return [name for name in names if (directory / name).exists()]


def _changes_of_data(values, flags, stage_flags):
    """[(flag, or stage.flag, what is said, what was planned)] of other images or labels.

    Args:
        values: the content of a recipe.
        flags: as of `content`.
        stage_flags: as of `content`.
    """
    common, sections = separate_sections(values)
    changes = []
    for stage, said in {"": flags, **stage_flags}.items():
        planned = {**common, **sections.get(stage, {})}
        for name, field in config.fields().items():
            if field.section != "data" or not field.fixed or name not in said:
                continue
            before = config.coerce(name, planned.get(name, field.default))
            now = config.coerce(name, said[name])
            # What `auto` means is known where the images are read.
            if before != AUTO and not config.is_same(name, before, now):
                changes.append((f"{stage}.{name}".lstrip("."), now, before))
    return changes


def _is_same_time(first, second):
    try:
        return seconds_of(str(first)) == seconds_of(str(second))
    except ValueError:  # which is told where all flags are checked
        return first == second
