"""Folders of images: which files belong to which split and class, and which of them can be read."""

import concurrent.futures
import functools
import os
import pathlib

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr.console import Progress
from tf_simclr.data import decoding
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


def scan(root):
    """{split: function -> (class names, readable files relative to `root`, labels int64 [N])} of a folder of images.

    `root` may hold split folders (train, and val or test), else a tenth of the images is set apart as `validation`, always
    the same ones. Within a split each folder is a class; images beside the class folders, or a folder without any class,
    have no label (-1).

    Raises:
        UserError: not a folder, or no image in it.
    """
    path = pathlib.Path(root)
    if not path.is_dir():
        raise UserError(
            f"--dataset=folder:{root}: {'it is not a folder' if path.exists() else 'no such folder'}; give a folder of images"
        )
    splits = {
        SPLIT_NAMES[entry.name.lower()]: entry.name
        for entry in sorted(path.iterdir())
        if entry.is_dir() and entry.name.lower() in SPLIT_NAMES
    }
    if "train" in splits:
        class_names = _classes(path / splits["train"])
        return {
            split: functools.partial(_files, path, name, class_names)
            for split, name in splits.items()
        }
    class_names, files, labels = _files(path, "", _classes(path))
    held_out = np.zeros(len(files), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = round(VALIDATION_SHARE * len(members))
        held_out[np.random.default_rng(0).permutation(members)[:count]] = True
    return {
        split: functools.partial(
            lambda mask: (class_names, [files[i] for i in np.flatnonzero(mask)], labels[mask]), mask
        )
        for split, mask in (("train", ~held_out), ("validation", held_out))
        if mask.any()
    }


def _classes(path):
    below = [pathlib.PurePath(file).relative_to(path).parts for file in _images(path)]
    return tuple(sorted({parts[0] for parts in below if len(parts) > 1}))


def _images(path):
    """All image files below `path`, sorted; hidden ones are left out, links to folders are not followed."""
    found = []
    for folder, folders, names in os.walk(
        path,
        onerror=lambda error: logging.warning(
            "%s: its images are left out: %s", error.filename, error.strerror
        ),
    ):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            os.path.join(folder, name)
            for name in names
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    return sorted(found)


def _files(root, split, class_names):
    """(class names, readable files relative to `root`, labels) of the split folder `split`."""
    files = [os.path.relpath(file, root) for file in _images(root / split)]
    if not files:
        raise UserError(
            f"--dataset=folder:{root}: no image in {root / split}; accepted are {', '.join(SUFFIXES)}"
        )
    index = {name: label for label, name in enumerate(class_names)}
    below = [pathlib.PurePath(file).relative_to(split).parts for file in files]
    labels = [index.get(parts[0], -1) if len(parts) > 1 else -1 for parts in below]
    unknown = sorted({parts[0] for parts in below if len(parts) > 1 and parts[0] not in index})
    if unknown:
        raise UserError(
            f"--dataset=folder:{root}: the class '{unknown[0]}' of {split} is not a class of train ({', '.join(class_names)})"
        )
    good = readable(root, tuple(files))
    return class_names, [files[i] for i in good], np.array(labels, np.int64)[good]


@functools.lru_cache(maxsize=8)  # the splits of a folder without split folders share their files
def readable(root, files):
    """Indices of the files that can be decoded; the others are counted and the first ten named in the log.

    Raises:
        UserError: none is left.
    """
    problems = problems_of([os.path.join(root, file) for file in files], "checking images")
    bad = [i for i, problem in enumerate(problems) if problem]
    if bad:
        logging.warning("%d of %d images can't be read and are skipped:", len(bad), len(files))
        for i in bad[:10]:
            logging.warning("  %s: %s", files[i], problems[i])
    if len(bad) == len(files):
        raise UserError(
            f"--dataset=folder:{root}: none of the {len(files)} images can be read, e.g. {files[0]}: {problems[0]}"
        )
    return np.setdiff1d(np.arange(len(files)), bad)


def problems_of(paths, what):
    """Why each of these files can't be decoded, None for those that can. what: the name of the work, for the user to see."""
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
            tf.io.decode_jpeg(
                contents, channels=3, ratio=8
            )  # an eighth of the size: finds what is broken in less time
        else:
            decoding.decode(contents)
    except (tf.errors.OpError, ValueError) as error:
        return decoding.reason(error)
    return None


@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def _checked(contents):
    return decoding.checked(contents, MAX_PIXELS)
