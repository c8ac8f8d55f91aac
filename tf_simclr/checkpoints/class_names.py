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
    path = directory / run_files.CLASS_NAMES
    names = path.read_text().splitlines() if path.exists() else []
    if not names:
        data = run_files.read_json(directory / run_files.DATA) or {}
        names = data.get("class_names", ())
    return tuple(names)
