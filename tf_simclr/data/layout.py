"""What the folders of images mean: splits, classes, or neither. Names of files alone decide.

A further layout is a function and a row of LAYOUTS.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence

ALL = ""  # the split of images that the layout does not divide
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
LABELED_NAMES = ("labeled", "labelled")
# Never classes. Not among them: unknown, other, none, background, which people train on.
UNLABELED_NAMES = (
    "unlabeled",
    "unlabelled",
    "unsorted",
    "unclassified",
    "uncategorized",
    "uncategorised",
    "unannotated",
    "untagged",
    "nolabel",
    "nolabels",
    "withoutlabel",
    "withoutlabels",
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """What each image of a folder is.

    Attributes:
        text: how the folders were understood.
        splits: {split: {file: class, None: no label}}; the only split is ALL where the folders
            divide nothing.
        unused: files that belong to no split.
    """

    text: str
    splits: dict[str, dict[str, str | None]]
    unused: tuple[str, ...] = ()


def recognize(files: Sequence[str]) -> Layout:
    """The layout of a folder.

    Args:
        files: paths relative to the folder, with slashes.
    """
    groups = _by_first_folder(files)
    layouts = (read(groups) for read in LAYOUTS)
    return next(layout for layout in layouts if layout is not None)


def split_name(name: str) -> str | None:
    """The split that a folder or a word is named after, None if after none."""
    return SPLIT_NAMES.get(_normalized(name))


def _normalized(name):
    return re.sub(r"[\s_-]", "", name.lower())


def _by_first_folder(files):
    """{first folder, "" for none: files below it}."""
    groups = {}
    for file in files:
        folder, slash, _ = file.partition("/")
        groups.setdefault(folder if slash else "", []).append(file)
    return groups


def _below(folder, files):
    """The files relative to their first folder."""
    return [file.removeprefix(f"{folder}/") for file in files]


def _is_unlabeled(folder):
    return _normalized(folder) in UNLABELED_NAMES


def _flat(groups):
    """No folders: no labels."""
    if set(groups) <= {""}:
        return Layout("no folders", {ALL: dict.fromkeys(groups.get("", ()))})
    return None


def _labeled_beside_unlabeled(groups):
    """labelled/ holds the classes, everything beside it is unlabeled."""
    labeled = [folder for folder in groups if _normalized(folder) in LABELED_NAMES]
    others = [folder for folder in groups if folder and folder not in labeled]
    if len(labeled) != 1 or not all(map(_is_unlabeled, others)):
        return None
    (folder,) = labeled
    inner = _inside(folder, groups[folder])
    split = "train" if "train" in inner.splits else ALL
    unlabeled = [file for other, files in groups.items() if other != folder for file in files]
    inner.splits[split].update(dict.fromkeys(unlabeled))
    return inner


def _inside(folder, files):
    """The layout of what is in a folder, with the names of the files as they are outside of it."""
    inner = recognize(_below(folder, files))
    splits = {}
    for split, classes in inner.splits.items():
        splits[split] = {f"{folder}/{file}": name for file, name in classes.items()}
    unused = tuple(f"{folder}/{file}" for file in inner.unused)
    return Layout(f"in {folder}/: {inner.text}", splits, unused)


def _split_folders(groups):
    """train/ beside val/, test/ or unlabeled/; a class may be called `train`, too."""
    folders = [folder for folder in groups if folder]
    splits = [folder for folder in folders if split_name(folder)]
    if "train" not in map(split_name, splits):
        return None
    unlabeled = [folder for folder in folders if _is_unlabeled(folder)]
    has_others = len(splits) + len(unlabeled) < len(folders)
    names = dict.fromkeys(map(split_name, splits))
    if has_others and len(names) < 2:
        return None
    classes = {name: {} for name in names}
    for folder in splits:
        classes[split_name(folder)].update(_classes_in(folder, groups[folder]))
    for folder in unlabeled:
        classes["train"].update(dict.fromkeys(groups[folder]))
    unused = [
        file
        for folder, files in groups.items()
        if folder not in splits and folder not in unlabeled
        for file in files
    ]
    listed = ", ".join(f"{folder}/" for folder in sorted(splits + unlabeled))
    return Layout(f"splits {listed}", classes, tuple(unused))


def _classes_in(folder, files):
    """{file: class} of the folder of a split."""
    groups = _by_first_folder(_below(folder, files))
    inner = _labeled_beside_unlabeled(groups) or _class_folders(groups)
    (classes,) = inner.splits.values() if len(inner.splits) == 1 else (_class_of(groups),)
    return {f"{folder}/{file}": name for file, name in classes.items()}


def _splits_in_classes(groups):
    """cat/train/, cat/test/, dog/train/, dog/test/: each class has the splits."""
    splits = {}
    for folder, files in groups.items():
        for file in files:
            _, _, rest = file.partition("/")
            inner_folder, slash, _ = rest.partition("/")
            name = split_name(inner_folder) if folder and slash else None
            if name is None:
                return None
            splits.setdefault(name, {})[file] = folder
    if "train" not in splits or len(splits) < 2:
        return None
    return Layout("splits in each class folder", splits)


def _single_folder(groups):
    """One folder with everything in further folders: these mean something, not the one."""
    if len(groups) != 1:
        return None
    ((folder, files),) = groups.items()
    if _is_unlabeled(folder) or not all("/" in file for file in _below(folder, files)):
        return None
    return _inside(folder, files)


def _class_folders(groups):
    """Each folder is a class."""
    return Layout("each folder is a class", {ALL: _class_of(groups)})


def _class_of(groups):
    classes = {}
    for folder, files in groups.items():
        has_label = folder and not _is_unlabeled(folder)
        classes.update(dict.fromkeys(files, folder if has_label else None))
    return classes


# The first that applies.
LAYOUTS: tuple[Callable[[dict], Layout | None], ...] = (
    _flat,
    _labeled_beside_unlabeled,
    _split_folders,
    _splits_in_classes,
    _single_folder,
    _class_folders,
)
