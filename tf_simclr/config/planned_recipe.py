"""When a recipe is planned, and the one that a run directory has. No TensorFlow."""

import os
from collections.abc import Callable

from etils import epath

from tf_simclr import config
from tf_simclr.config import recipes
from tf_simclr.config.length import LENGTH_FLAGS
from tf_simclr.config.registry import Mode
from tf_simclr.config.values import FOLDER, data_set
from tf_simclr.errors import UserError


def is_default(flags: dict, mode: Mode) -> bool:
    """Whether a command line without --config is a training on a folder that gives no length.

    Args:
        flags: {flag name: value} of the command line.
        mode: what --mode does.
    """
    is_folder = data_set(str(flags.get("dataset", ""))).startswith(FOLDER)
    return is_folder and mode.trains and not any(name in flags for name in LENGTH_FLAGS)


def content(
    flags: dict, stage_flags: dict, make_recipe: Callable[[dict, dict], dict] | None
) -> tuple[dict, str]:
    """The recipe that was planned before in the run directory, or else a new one.

    Args:
        flags: {flag name: value} of the command line, with model_dir.
        stage_flags: {stage: {flag name: value}} of the command line.
        make_recipe: plans a recipe; None: nothing can be planned.

    Returns:
        (content of the recipe, a line for the log or an empty text).

    Raises:
        UserError: the recipe that is there was planned for another budget.
    """
    path = epath.Path(os.path.expanduser(flags["model_dir"]), recipes.PLANNED_FILE)
    if not recipes.is_file(path):
        if make_recipe is None:
            raise UserError(f"--config={recipes.AUTO}: nothing can be planned here; give a recipe")
        return make_recipe(flags, stage_flags), ""
    values = recipes.read(path)
    planned = values.get("budget", config.fields()["budget"].default)
    budget = flags.get("budget", planned)
    if budget != planned:
        raise UserError(
            f"--budget={budget}: what is in {path} was planned for {planned}; leave --budget out "
            "to resume it, or give another --model_dir"
        )
    return values, f"the plan of this run is kept: {path}"
