"""Folders of images: which files belong to which split and class, and which can be read."""

import concurrent.futures
import functools
import os
import pathlib

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr.console import Progress
from tf_simclr.data import decoding
from tf_simclr.data.source import UNLABELED
from tf_simclr.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
SPLIT_NAMES = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
MAX_PIXELS = 10**8  # of an image; decoded it takes 300 MB
VALIDATION_SHARE = 0.1  # of each class, where the folder has no splits of its own
MAX_LOGGED = 10  # files that can't be read and are named in the log
CHECK_RATIO = 8  # a JPEG is checked at an eighth of its size, which takes less time


def scan(root: str) -> dict:
    """The splits of a folder of images.

    `root` may hold split folders (train, and val or test), else a tenth of the images is set apart
    as `validation`, always the same ones. Within a split each folder is a class; images beside the
    class folders, or a folder without any class, have no label (-1).

    Args:
        root: path of the folder.

    Returns:
        {split: function -> (class names, readable files relative to `root`, labels int64 [N])}.

    Raises:
        UserError: not a folder, or no image in it.
    """
    path = pathlib.Path(root)
    if not path.is_dir():
        reason = "it is not a folder" if path.exists() else "no such folder"
        raise UserError(f"--dataset=folder:{root}: {reason}; give a folder of images")
    split_folders = {}
    for entry in sorted(path.iterdir()):
        name = entry.name.lower()
        if entry.is_dir() and name in SPLIT_NAMES:
            split_folders[SPLIT_NAMES[name]] = entry.name
    if "train" not in split_folders:
        return _divided(path)
    class_names = _class_names(path / split_folders["train"])
    return {
        split: functools.partial(_files_of_split, path, folder, class_names)
        for split, folder in split_folders.items()
    }


def _divided(path):
    """The splits of a folder that has none of its own; as `scan`."""
    class_names, files, labels = _files_of_split(path, "", _class_names(path))
    is_held_out = np.zeros(len(files), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = round(VALIDATION_SHARE * len(members))
        drawn = np.random.default_rng(0).permutation(members)[:count]
        is_held_out[drawn] = True

    def select(mask):
        chosen = [files[index] for index in np.flatnonzero(mask)]
        return class_names, chosen, labels[mask]

    masks = {"train": ~is_held_out, "validation": is_held_out}
    return {split: functools.partial(select, mask) for split, mask in masks.items() if mask.any()}


def _class_names(path):
    names = set()
    for file in _image_files(path):
        folders = pathlib.PurePath(file).relative_to(path).parts[:-1]
        names.update(folders[:1])
    return tuple(sorted(names))


def _image_files(path):
    """All image files below `path`, sorted; hidden ones are left out, links are not followed."""

    def log_unreadable(error):
        logging.warning("%s: its images are left out: %s", error.filename, error.strerror)

    files = []
    for folder, folders, names in os.walk(path, onerror=log_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                files.append(os.path.join(folder, name))
    return sorted(files)


def _files_of_split(root, split_folder, class_names):
    """(class names, readable files relative to `root`, labels int64 [N]) of a split."""
    paths = _image_files(root / split_folder)
    files = [os.path.relpath(path, root) for path in paths]
    if not files:
        raise UserError(
            f"--dataset=folder:{root}: no image in {root / split_folder}; "
            f"accepted are {', '.join(SUFFIXES)}"
        )
    label_of = {name: label for label, name in enumerate(class_names)}
    labels = []
    for file in files:
        folders = pathlib.PurePath(file).relative_to(split_folder).parts[:-1]
        if folders and folders[0] not in label_of:
            raise UserError(
                f"--dataset=folder:{root}: the class '{folders[0]}' of {split_folder} is not a "
                f"class of train ({', '.join(class_names)})"
            )
        labels.append(label_of[folders[0]] if folders else UNLABELED)
    good = readable(root, tuple(files))
    return class_names, [files[index] for index in good], np.array(labels, np.int64)[good]


@functools.lru_cache(maxsize=8)  # the splits of a folder without split folders share their files
def readable(root: pathlib.Path, files: tuple[str, ...]) -> np.ndarray:
    """Indices of the files that can be decoded.

    The others are counted and the first ten named in the log.

    Args:
        root: path of the folder.
        files: relative to `root`.

    Raises:
        UserError: none is left.
    """
    paths = [os.path.join(root, file) for file in files]
    problems = problems_of(paths, "checking images")
    bad = [index for index, problem in enumerate(problems) if problem]
    if bad:
        logging.warning("%d of %d images can't be read and are skipped:", len(bad), len(files))
        for index in bad[:MAX_LOGGED]:
            logging.warning("  %s: %s", files[index], problems[index])
    if len(bad) == len(files):
        raise UserError(
            f"--dataset=folder:{root}: none of the {len(files)} images can be read, "
            f"e.g. {files[0]}: {problems[0]}"
        )
    return np.setdiff1d(np.arange(len(files)), bad)


def problems_of(paths: list[str], what: str) -> list[str | None]:
    """Why files can't be decoded.

    Args:
        paths: of the files.
        what: name of the work, for the progress.

    Returns:
        A reason for each, None for those that can be decoded.
    """
    problems = []
    with (
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
        Progress(what, len(paths)) as progress,
    ):
        for problem in pool.map(_problem, paths):
            problems.append(problem)
            progress.update(1)
    return problems


def _problem(path):
    try:
        contents = _checked(tf.io.read_file(os.fsencode(path)))
        if tf.io.is_jpeg(contents):
            tf.io.decode_jpeg(contents, channels=3, ratio=CHECK_RATIO)
        else:
            decoding.decode(contents)
    except (tf.errors.OpError, ValueError) as error:
        return decoding.reason(error)
    return None


@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def _checked(contents):
    return decoding.checked(contents, MAX_PIXELS)
