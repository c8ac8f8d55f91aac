"""How folders were understood before `--folder_layout` existed, for runs that were made then.

Each folder in train, val and test is a class; without train, each folder is, and a tenth of every
class is drawn at random.
"""

import functools
import pathlib

import numpy as np

from tf_simclr.data import image_folder
from tf_simclr.data.division import HELD_OUT_SHARE
from tf_simclr.data.folder_messages import OtherClass
from tf_simclr.data.layout import SPLIT_NAMES
from tf_simclr.data.source import UNLABELED

OLD_SPLIT_NAMES = ("train", "val", "valid", "validation", "test")
OLD_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")


def scan(root: str, has_labels: bool = True) -> dict:
    """The splits of a folder of images.

    Args:
        root: path of the folder.
        has_labels: whether folders are classes; else no image has a label, and what is held out is
            the same.

    Returns:
        {split: function -> (class names, readable files relative to `root`, labels int64 [N])}.

    Raises:
        UserError: no image in it.
    """
    path = pathlib.Path(root)
    split_folders = {}
    for entry in sorted(path.iterdir()):
        name = entry.name.lower()
        if entry.is_dir() and name in OLD_SPLIT_NAMES:
            split_folders[SPLIT_NAMES[name]] = entry.name
    if "train" not in split_folders:
        splits = _divided(path)
    else:
        class_names = _class_names(path / split_folders["train"]) if has_labels else None
        splits = {
            split: functools.partial(_files_of_split, path, folder, class_names)
            for split, folder in split_folders.items()
        }
    if has_labels:
        return splits
    return {split: functools.partial(_without_labels, find) for split, find in splits.items()}


def _without_labels(find_files):
    _, files, labels = find_files()
    return (), files, np.full_like(labels, UNLABELED)


def _divided(path):
    """The splits of a folder that has none of its own; as `scan`."""
    class_names, files, labels = _files_of_split(path, "", _class_names(path))
    is_held_out = np.zeros(len(files), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = round(HELD_OUT_SHARE * len(members))
        drawn = np.random.default_rng(0).permutation(members)[:count]
        is_held_out[drawn] = True

    def select(mask):
        chosen = [files[index] for index in np.flatnonzero(mask)]
        return class_names, chosen, labels[mask]

    masks = {"train": ~is_held_out, "validation": is_held_out}
    return {split: functools.partial(select, mask) for split, mask in masks.items() if mask.any()}


def _image_files(path):
    files = image_folder.files_below(path, follow_links=False)
    return [file for file in files if file.lower().endswith(OLD_SUFFIXES)]


def _class_names(path):
    names = set()
    for file in _image_files(path):
        folders = pathlib.PurePath(file).relative_to(path).parts[:-1]
        names.update(folders[:1])
    return tuple(sorted(names))


def _files_of_split(root, split_folder, class_names):
    """(class names, readable files relative to `root`, labels int64 [N]) of a split.

    Args:
        root: folder of all images.
        split_folder: of the split, in `root`; empty: `root` itself.
        class_names: of train; None: those of the split itself.
    """
    class_names = _class_names(root / split_folder) if class_names is None else class_names
    paths = _image_files(root / split_folder)
    files = [str(pathlib.PurePath(path).relative_to(root)) for path in paths]
    if not files:
        raise image_folder.no_images(root, root / split_folder)
    label_of = {name: label for label, name in enumerate(class_names)}
    labels = []
    for file in files:
        folders = pathlib.PurePath(file).relative_to(split_folder).parts[:-1]
        if folders and folders[0] not in label_of:
            raise OtherClass(f"folder:{root}", folders[0], split_folder, class_names)
        labels.append(label_of[folders[0]] if folders else UNLABELED)
    good = image_folder.readable(root, tuple(files))
    return class_names, [files[index] for index in good], np.array(labels, np.int64)[good]
