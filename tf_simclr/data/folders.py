"""The user's own images: folders, or lists of files -> splits, classes, what is held out."""

import dataclasses
import functools
import os
from collections.abc import Callable

import numpy as np
from absl import logging

from tf_simclr.config import label_tables
from tf_simclr.config.label_tables import NO_LABELS
from tf_simclr.config.values import FOLDER, directory_of, folders_of
from tf_simclr.data import (
    division,
    folder_images,
    folder_messages,
    foreign_images,
    image_folder,
    label_file,
    layout,
    scan_cache,
    simple_layout,
)
from tf_simclr.data.layout import ALL
from tf_simclr.data.source import UNLABELED, FolderFacts, as_text, counted
from tf_simclr.errors import UserError

HINT = f"if not: --labels={NO_LABELS}, or --labels=FILE.csv"


@dataclasses.dataclass(frozen=True)
class FolderSplit:
    """The images of a split.

    Attributes:
        class_names: of all splits.
        names: of the images, for the user.
        paths: of the images.
        labels: int64 [N], -1 where unknown.
        facts: how the folders were understood; None with `--folder_layout=simple`.
    """

    class_names: tuple[str, ...]
    names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: np.ndarray
    facts: FolderFacts | None = None


class Splits(dict):
    """{split: function -> `FolderSplit`}; a split also goes by its other names, such as val."""

    def __missing__(self, name):
        usual_name = layout.SPLIT_NAMES.get(name, name)
        if usual_name == name or usual_name not in self:
            raise KeyError(name)
        return self[usual_name]

    def mapped(self, function: Callable) -> "Splits":
        """The same splits, each a function without arguments that calls `function`.

        Args:
            function: of a split and of the function that it has here.
        """
        return Splits({split: functools.partial(function, split, self[split]) for split in self})


def scan(
    dataset: str, labels: str = "", moved: dict[str, bool] | None = None, is_simple: bool = False
) -> Splits:
    """The splits of folders of images.

    Args:
        dataset: folder:PATH, several of them with commas between.
        labels: as --labels.
        moved: the exceptions of the division that a run has saved, see `division`; None: none.
        is_simple: whether --folder_layout=simple.

    Raises:
        UserError: not a folder, or no image in it.
    """
    roots = folders_of(dataset)
    for root in roots:
        folder_images.check_exists(root)
    if is_simple:
        _log(dataset, ("each folder is a class (--folder_layout=simple)",))
        return _simple_splits(roots, labels)
    images = folder_images.as_before(folder_images.collect(roots))
    table_name, _ = label_tables.separate_columns(labels)
    table = label_tables.find(table_name, images.folders)
    table_state = (table, scan_cache.state(table)) if table else None
    exceptions = None if moved is None else tuple(moved.items())
    return _splits(dataset, images, labels, table_state, exceptions)


@functools.lru_cache(maxsize=4)  # each stage of a process asks several times
def _splits(dataset, images, labels, table_state, exceptions):
    """As `scan`; the state of the table of labels is a part of what the splits follow from."""
    moved = None if exceptions is None else dict(exceptions)
    splits, lines = _assign(images, labels)
    if set(splits) == {ALL}:
        return _divided(dataset, images, splits[ALL], lines, moved)
    return _given_splits(dataset, images, splits, lines)


def table_of(dataset: str, labels: str) -> label_file.Labels | None:
    """What the table of --labels says of the images of folders; None where there is no table.

    Raises:
        UserError: folders or table are gone.
    """
    if labels in ("", NO_LABELS) or not dataset.startswith(FOLDER):
        return None
    for root in folders_of(dataset):
        folder_images.check_exists(root)
    images = folder_images.collect(folders_of(dataset))
    return label_file.read(labels, images.folders, images.paths)


def classes_of(dataset: str) -> dict[str, str]:
    """{image: class} as the folders or lists of a data set have them, whatever the split."""
    images = folder_images.collect(folders_of(dataset))
    splits, _ = _assign(images, labels="")
    known = {}
    for classes in splits.values():
        known |= {name: label for name, label in classes.items() if label is not None}
    return known


def _simple_splits(roots, labels):
    (root, *others) = roots
    if others or not os.path.isdir(root) or labels not in ("", NO_LABELS):
        raise UserError(
            "--folder_layout=simple: it is of one folder, without --labels; leave it out"
        )
    return Splits(
        {
            split: functools.partial(_simple_split, root, find_files)
            for split, find_files in simple_layout.scan(root, labels != NO_LABELS).items()
        }
    )


def _simple_split(root, find_files):
    class_names, names, labels = find_files()
    paths = tuple(os.path.join(root, name) for name in names)
    return FolderSplit(tuple(map(as_text, class_names)), tuple(names), paths, labels)


def _assign(images, labels):
    """({split: {name: class or None}}, lines for the user)."""
    splits, texts, unused = {}, [], []
    for group in images.groups.values():
        group_layout = layout.recognize(sorted(group))
        texts.append(group_layout.text)
        unused += [group[name] for name in group_layout.unused]
        for split, classes in group_layout.splits.items():
            named = {group[name]: class_name for name, class_name in classes.items()}
            splits.setdefault(split, {}).update(named)
    if len(splits) > 1 and ALL in splits:  # folders with splits beside others without
        splits.setdefault("train", {}).update(splits.pop(ALL))
    lines = list(images.notes)
    source = "; ".join(dict.fromkeys(texts))
    hint = HINT
    if labels:
        splits, source, notes = _relabeled(images, splits, labels)
        lines += notes
        hint = ""
    elif images.labels:
        splits = _with_classes(splits, images.labels)
        source, hint = "labels of the list", ""
    lines.insert(0, folder_messages.summary(splits, source, hint))
    lines += folder_messages.unused(unused)
    lines += folder_messages.odd_classes(splits)
    if not labels:
        lines += folder_messages.nested_folders(splits)
        lines += folder_messages.tables(images.folders)
    return splits, lines


def _relabeled(images, splits, labels):
    """(splits with the classes that --labels gives, where they are from, notes)."""
    if labels == NO_LABELS:
        return _with_classes(splits, {}), f"--labels={NO_LABELS}", ()
    table = label_file.read(labels, images.folders, images.paths)
    if table.splits is not None:
        splits = {}
        for name in images.paths:
            splits.setdefault(table.splits.get(name, "train"), {})[name] = None
    return _with_classes(splits, table.classes), table.flag, table.notes


def _with_classes(splits, classes):
    return {split: {name: classes.get(name) for name in names} for split, names in splits.items()}


def _readable(images, names):
    """{image: hash of its content} of those of `names` that can be decoded."""
    digests = {}
    for root, group in images.groups.items():
        folder = directory_of(root)
        relative = tuple(short for short, name in group.items() if name in names)
        if not relative:
            continue
        good = [relative[index] for index in image_folder.readable(folder, relative)]
        paths = [os.path.join(folder, short) for short in good]
        for short, digest in zip(good, scan_cache.digests(folder, paths)):
            digests[group[short]] = digest
    gone = [name for name, digest in digests.items() if not digest]
    if gone:
        number, example = counted(len(gone), "image"), as_text(gone[0])
        logging.warning("%s skipped: gone while the folder was read, e.g. %s", number, example)
    return {name: digest for name, digest in sorted(digests.items()) if digest}


def _divided(dataset, images, classes, lines, moved):
    """The splits of folders that have none of their own."""
    digests = _readable(images, classes)
    names = list(digests)
    divided = division.divide(list(digests.values()), [classes[name] for name in names], moved)
    sides = {"train": ~divided.is_held_out, "validation": divided.is_held_out}
    splits = {}
    for split, mask in sides.items():
        chosen = [names[index] for index in np.flatnonzero(mask)]
        if chosen:
            splits[split] = {name: classes[name] for name in chosen}
    lines += folder_messages.copies(digests, classes)
    lines += folder_messages.held_out(splits, digests)
    counts = folder_messages.class_counts(splits)
    converted = {
        name: digest
        for name, digest in digests.items()
        if foreign_images.is_foreign(images.paths[name])
    }
    facts = FolderFacts(tuple(lines), counts, divided.moved, converted)
    _log(dataset, facts.lines)
    return Splits(
        {
            split: functools.partial(_make_split, images, split_classes, tuple(counts), facts)
            for split, split_classes in splits.items()
        }
    )


def _given_splits(dataset, images, splits, lines):
    """The splits of folders that have their own, which are read when they are needed."""
    class_names = tuple(folder_messages.class_counts({"train": splits.get("train", {})}))
    facts = FolderFacts(tuple(lines), folder_messages.class_counts(splits))
    _log(dataset, facts.lines)
    return Splits(
        {
            split: functools.cache(
                functools.partial(_read_split, images, split, classes, class_names, facts)
            )
            for split, classes in sorted(splits.items(), key=lambda item: item[0] != "train")
        }
    )


@functools.lru_cache(maxsize=64)
def _log(dataset, lines):
    """Says how folders were understood, once for all splits."""
    for line in lines:
        logging.info("%s: %s", as_text(dataset), as_text(line))


def _read_split(images, split, classes, class_names, facts):
    unknown = sorted({name for name in classes.values() if name is not None} - set(class_names))
    if unknown:
        example = next(name for name, class_name in classes.items() if class_name == unknown[0])
        folder = example.split("/")[0]
        place = folder if layout.split_name(folder) else split
        dataset = f"{FOLDER}{','.join(images.groups)}"
        raise folder_messages.OtherClass(dataset, unknown[0], place, class_names)
    readable = {name: classes[name] for name in _readable(images, classes)}
    return _make_split(images, readable, class_names, facts)


def _make_split(images, classes, class_names, facts):
    label_of = {name: label for label, name in enumerate(class_names)}
    labels = [label_of.get(class_name, UNLABELED) for class_name in classes.values()]
    paths = tuple(images.paths[name] for name in classes)
    texts = tuple(map(as_text, class_names))
    return FolderSplit(texts, tuple(classes), paths, np.array(labels, np.int64), facts)
