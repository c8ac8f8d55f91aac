"""What the flags of a command line override: a recipe, the configuration of a run, or nothing."""

import dataclasses
import os

from etils import epath

from tf_simclr import config
from tf_simclr.config import backbones, inheritance, original_release, planned_recipe, recipes
from tf_simclr.config.recipes import AUTO
from tf_simclr.config.registry import MODES, Mode
from tf_simclr.config.stage_directories import relocated
from tf_simclr.config.values import FOLDER
from tf_simclr.errors import UserError


@dataclasses.dataclass(frozen=True)
class Base:
    """What the flags of a command line override.

    Attributes:
        values: the content of a YAML file or of a run's configuration.
        name: of the configuration; empty: it has none.
        note: how it was chosen, where the user did not say it.
        is_planned: whether the values are still to be planned.
    """

    values: dict = dataclasses.field(default_factory=dict)
    name: str = ""
    note: str = ""
    is_planned: bool = False


def choose(config_name: str, flags: dict) -> Base:
    """What the flags of a command line override.

    Args:
        config_name: of --config; empty: not given.
        flags: {flag name: value} of the command line.

    Raises:
        UserError: no such recipe, or a mode for which something is missing.
    """
    base = None
    if config_name and config_name != AUTO:
        path = recipes.find(config_name)
        base = Base(recipes.read(path), path.stem)
    mode = _mode_of({**base.values, **flags} if base else flags)
    names_data = "dataset" in flags
    is_planned = planned_recipe.is_default(flags, mode) and not _goes_on_unplanned(flags)
    if config_name == AUTO or (not config_name and is_planned):
        return Base(name=folder_name(flags), is_planned=True)
    if not base and names_data and not mode.of_a_run:
        return Base()
    if not base:
        saved = _saved_configuration(flags)
        if saved is not None:
            return saved
        base = Base() if names_data else _base_of_mode(flags)
    # A recipe of a training names what that starts from.
    names_weights = base.values if _mode_of(base.values).of_a_run else {}
    checkpoint = flags.get("checkpoint", names_weights.get("checkpoint"))
    if mode.of_a_run and not mode.needs_nothing and checkpoint:
        with_data = not (config_name or names_data)
        return _of_checkpoint(base, str(checkpoint), with_data)
    return base


def _mode_of(flags):
    default = config.fields()["mode"].default
    return MODES.get(flags.get("mode", default), Mode())


def _goes_on_unplanned(flags):
    """Whether the run directory is of a command without --mode that planned nothing."""
    directory = epath.Path(os.path.expanduser(flags.get("model_dir", "")))
    is_run = recipes.is_file(directory / recipes.CONFIG_FILE)
    is_planned = recipes.is_file(directory / recipes.PLANNED_FILE)
    return "mode" not in flags and "model_dir" in flags and is_run and not is_planned


def _of_checkpoint(base, checkpoint, with_data):
    """Under what is said, what the run is whose weights are evaluated, exported or embedded with.

    Args:
        base: what is said besides flags.
        checkpoint: its weights.
        with_data: whether its data are meant, too.
    """
    of_run = inheritance.of_a_run(checkpoint, with_data)
    if not of_run:
        return base
    halves = "Lab " if of_run["backbone"] == backbones.LAB else ""
    network = f"{halves}ResNet-{of_run['resnet_depth']} with the {of_run['stem']} stem"
    if backbones.is_published(of_run["backbone"]):
        network = backbones.name_of(of_run["backbone"])
    note = (
        f"--checkpoint={checkpoint}: what is not given is as there: {of_run['image_size']} pixels, "
        f"eval_crop {of_run['eval_crop']}, resizing {of_run['resizing']}, "
        f"{network}"
    )
    return dataclasses.replace(base, values={**of_run, **base.values}, note=note)


def _saved_configuration(flags):
    """The configuration of the run in `--model_dir`, None where there is none."""
    model_dir = flags.get("model_dir")
    if not model_dir:
        return None
    path = epath.Path(os.path.expanduser(model_dir), recipes.CONFIG_FILE)
    if not recipes.is_file(path):
        return None
    original_release.check_model_dir(model_dir)
    note = f"what is not given is as in the configuration of this run, {path}"
    saved = config.completed(recipes.read(path))
    return Base(relocated(saved, model_dir), note=note)


def _base_of_mode(flags):
    """The quick start, or nothing for a mode that works on a run that exists."""
    mode = MODES.get(flags.get("mode"))
    if mode is None or not mode.of_a_run:
        if "budget" in flags:
            raise UserError(
                f"--budget={flags['budget']}: it is the time for a training on your images; give "
                "their folder, as in run.py PATH --budget=30m"
            )
        note = (
            "neither --config nor --dataset is given: this is the quick start, "
            f"--config={recipes.QUICK_START}"
        )
        return Base(recipes.read(recipes.find(recipes.QUICK_START)), recipes.QUICK_START, note)
    if mode.needs_nothing:
        return Base()
    has_directory = bool(flags.get("model_dir"))
    if flags["mode"] == "report" and flags.get("report_runs"):
        if not has_directory:
            raise UserError(
                "--mode=report: give a new directory as --model_dir, where the report of "
                "--report_runs is written"
            )
        return Base()
    if not (flags.get("checkpoint") and has_directory):
        directory = flags.get("model_dir")
        reason = f"{directory} has no {recipes.CONFIG_FILE}"
        if not directory:
            reason = "no --model_dir is given"
        elif not epath.Path(directory).exists():
            reason = f"there is no directory {directory}"
        raise UserError(
            f"--mode={flags['mode']}: {reason}; give the directory of a run as --model_dir, or "
            "weights as --checkpoint and a new --model_dir"
        )
    return Base()


def folder_name(flags: dict) -> str:
    """The last folder of the data set of `flags`, or its name."""
    dataset = str(flags.get("dataset", config.fields()["dataset"].default))
    last_folder = dataset.rstrip("/").replace(FOLDER, "").split("/")[-1]
    return last_folder.strip(".") or "folder"
