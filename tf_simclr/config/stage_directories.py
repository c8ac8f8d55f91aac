"""The runs of a chain as directories side by side: saved, moved elsewhere, put together again."""

import os

from tf_simclr.config.config import Config
from tf_simclr.config.stages import BEST_DIRECTORY, CHECKPOINT_FLAGS

OWN_FLAGS = ("train_mode", "model_dir")  # what is never the same in two stages


def sibling_runs(values: dict) -> dict[str, str]:
    """Which checkpoints are runs that lie beside a run.

    Args:
        values: {flag name: value} of the run.

    Returns:
        {checkpoint flag: name of a run beside the run directory, or its best/}.
    """
    model_dir = _whole_path(values.get("model_dir") or ".")
    parent = os.path.join(os.path.dirname(model_dir), "")
    names = {}
    for flag in CHECKPOINT_FLAGS:
        path = _whole_path(values[flag]) if values.get(flag) else ""
        name = path.removeprefix(parent)
        is_in_parent = path.startswith(parent)
        is_direct_child = not os.path.dirname(name.removesuffix(f"/{BEST_DIRECTORY}"))
        if is_in_parent and is_direct_child:
            names[flag] = name
    return names


def _whole_path(path):
    return path.rstrip("/") if "://" in path else os.path.abspath(path)


def relocated(values: dict, model_dir: str) -> dict:
    """The saved flags of a single run as they are in another place.

    Args:
        values: {flag name: value} as they were saved.
        model_dir: where the run is now; runs that lay beside it lie beside it still.
    """
    path = model_dir.rstrip("/")
    parent = os.path.dirname(path)
    if os.path.basename(path) in (".", ".."):
        parent = os.path.join(path, "..")
    siblings = {flag: os.path.join(parent, name) for flag, name in sibling_runs(values).items()}
    return {**values, "model_dir": model_dir, **siblings}


def combined_flags(configs: list[Config]) -> dict:
    """The configurations of a chain as one dict, which `separate_sections` takes.

    Returns:
        What the stages share, then a section for each.
    """
    flags = {settings.train.model_dir.rsplit("/", 1)[1]: settings.flat() for settings in configs}
    first = next(iter(flags.values()))
    root = first["model_dir"].rsplit("/", 1)[0]
    common = {name: value for name, value in first.items() if _is_common(name, flags)}
    names = _names_of_directories(flags)
    sections = {}
    for stage, own in flags.items():
        section = {}
        for name, value in own.items():
            if name in CHECKPOINT_FLAGS:
                section[name] = names.get(value, value)
            elif name not in common and name not in OWN_FLAGS:
                section[name] = value
        sections[stage] = section
    return {"train_mode": ",".join(flags), "model_dir": root, **common, **sections}


def _is_common(name, flags):
    """Whether all stages have the same value of a flag that they may share."""
    values = [own[name] for own in flags.values()]
    is_own = name in OWN_FLAGS or name in CHECKPOINT_FLAGS
    return not is_own and all(value == values[0] for value in values)


def _names_of_directories(flags):
    """{run directory of a stage, or its best/: how a section names it}."""
    names = {}
    for stage, own in flags.items():
        for inside in ("", f"/{BEST_DIRECTORY}"):
            names[own["model_dir"] + inside] = stage + inside
    return names
