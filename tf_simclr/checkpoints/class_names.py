"""What the classes of a trained network are called."""

from etils import epath

from tf_simclr.runs import files as run_files


def numbered_names(num_classes: int) -> tuple[str, ...]:
    """Names of classes that have none."""
    return tuple(map(str, range(num_classes)))


def class_names_or_numbers(num_classes: int, *candidates: tuple[str, ...]) -> tuple[str, ...]:
    """The first tuple of names that has one for each class; the numbers if none has."""
    for names in candidates:
        if len(names) == num_classes:
            return names
    return numbered_names(num_classes)


def saved_class_names(directory: epath.Path) -> tuple[str, ...]:
    """The names of the classes that are written down in a run directory or assets, if any."""
    data = run_files.read_json(directory / run_files.DATA) or {}
    names = data.get("class_names")
    if names:
        return tuple(names)
    path = directory / run_files.CLASS_NAMES
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    # Not `splitlines`: names may have what that takes for the end of a line, such as \u2028.
    return tuple(text.removesuffix("\n").split("\n")) if text else ()
