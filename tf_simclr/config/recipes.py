"""Recipes of official_configs/, YAML files, and the configurations that runs have saved. No TensorFlow here."""

import json
import os
import pathlib

from tf_simclr import config
from tf_simclr.config.stages import mode_of, separate_sections, stage_configs, stage_names
from tf_simclr.errors import UserError, did_you_mean

CONFIG_DIR = pathlib.Path(__file__).resolve().parents[2] / "official_configs"
QUICK_START = "digits_quickstart"
CONFIG_FILE = "flags.json"  # a run directory's own configuration


def find(name):
    """The path of the recipe `name`, or of the file `name`."""
    path = pathlib.Path(os.path.expanduser(name))
    for candidate in (path, CONFIG_DIR / f"{name}.yaml", CONFIG_DIR / name):
        if is_file(candidate):
            return candidate
    recipes = sorted(path.stem for path in CONFIG_DIR.glob("*.yaml"))
    raise UserError(
        f"--config={name}: no such file, and no such recipe in official_configs ({', '.join(recipes)}).{did_you_mean(path.stem, recipes)}"
    )


def is_file(path):
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, a folder that may not be read
        return False


def read(path):
    """The content of a YAML or JSON file, every key and value checked: {flag name: value}, and {stage: {flag name: value}}."""
    import yaml  # late: it is not needed by --help

    parse = (
        json.loads if path.suffix == ".json" else yaml.safe_load
    )  # YAML reads JSON, but not all of its \u escapes
    try:
        values = parse(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: can't be read as {path.suffix[1:].upper() or 'YAML'}: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: lines of `name: value` are expected, got {type(values).__name__}")
    try:
        common, sections = separate_sections(values)
        stages = stage_names(common.get("train_mode", "pretrain"))
        stage_configs(common, sections)
        for stage in sections:
            if stage not in (*stages, mode_of(stage)):
                raise UserError(
                    f"'{stage}' is the section of a stage that is not in train_mode ({', '.join(stages)}).{did_you_mean(stage, stages)}"
                )
        for section in sections.values():  # those of stages that are not in train_mode, too
            config.build({**common, **section, "train_mode": "pretrain"})
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return values
