"""Recipes of official_configs/, YAML files, and configurations that runs have saved."""

import json
import os
import pathlib

from tf_simclr import config
from tf_simclr.config.stages import mode_of, separate_sections, stage_configs, stage_names
from tf_simclr.errors import UserError, did_you_mean

# In a wheel the recipes lie in the package.
_FOLDERS = (parent / "official_configs" for parent in pathlib.Path(__file__).resolve().parents[1:3])
CONFIG_DIR = next((folder for folder in _FOLDERS if folder.is_dir()), None)
QUICK_START = "digits_quickstart"
MERGE = "tag:yaml.org,2002:merge"  # of the key <<
CONFIG_FILE = "flags.json"  # a run directory's own configuration
AUTO = "auto"  # a value of --config: the recipe is planned, see `commands.planning`
PLANNED_FILE = "recipe.yaml"  # in a run directory: the recipe that was planned


def find(name: str) -> pathlib.Path:
    """The path of the recipe `name`, or of the file `name`.

    Raises:
        UserError: there is none.
    """
    path = pathlib.Path(os.path.expanduser(name))
    for candidate in (path, CONFIG_DIR / f"{name}.yaml", CONFIG_DIR / name):
        if is_file(candidate):
            return candidate
    recipes = names()
    raise UserError(
        f"--config={name}: no such file, and neither {AUTO} nor a recipe in official_configs "
        f"({', '.join(recipes)}).{did_you_mean(path.stem, recipes)}"
    )


def names() -> list[str]:
    """The names of all recipes of official_configs/, also of those in a folder of it."""
    paths = sorted(CONFIG_DIR.rglob("*.yaml"))
    return [path.relative_to(CONFIG_DIR).with_suffix("").as_posix() for path in paths]


def is_file(path) -> bool:
    """Whether a path is that of a file that can be seen."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, a folder that may not be read
        return False


def read(path) -> dict:
    """The content of a YAML or JSON file, every key and value checked.

    Args:
        path: `pathlib.Path` or `epath.Path`.

    Returns:
        {flag name: value, or name of a stage: {flag name: value}}.

    Raises:
        UserError: it can't be read, or has an unknown key or a value out of range.
    """
    values = _parse(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: lines of `name: value` are expected, got {type(values).__name__}")
    try:
        _check(values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return values


def _parse(path):
    import yaml  # late: it is not needed by --help

    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":  # YAML reads JSON, but not all of its \u escapes
            return json.loads(text, object_pairs_hook=_without_repeated)
        _check_keys(yaml.compose(text, yaml.SafeLoader))
        return yaml.safe_load(text)
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        kind = path.suffix[1:].upper() or "YAML"
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: can't be read as {kind}: {reason}") from None


def _check_keys(node):
    """Checks that no key of a YAML node, or inside of it, is there twice: the last would count."""
    if node is None or isinstance(node.value, str):
        return
    for inner in node.value:
        for part in inner if isinstance(inner, tuple) else (inner,):
            _check_keys(part)
    if node.id == "mapping":
        keys = [key for key, _ in node.value if key.id == "scalar" and key.tag != MERGE]
        _without_repeated([(key.value, None) for key in keys])


def _without_repeated(pairs):
    """A dict of pairs whose keys are different."""
    names = [name for name, _ in pairs if isinstance(name, str)]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ValueError(f"'{repeated[0]}' is there twice; give it once")
    return dict(pairs)


def _check(values):
    common, sections = separate_sections(values)
    stages = stage_names(common.get("train_mode", "pretrain"))
    stage_configs(common, sections)
    for stage, section in sections.items():
        if stage not in (*stages, mode_of(stage)):
            raise UserError(
                f"'{stage}' is the section of a stage that is not in train_mode "
                f"({', '.join(stages)}).{did_you_mean(stage, stages)}"
            )
        # Those of stages that are not in train_mode, too.
        config.build({**common, **section, "train_mode": "pretrain"})
