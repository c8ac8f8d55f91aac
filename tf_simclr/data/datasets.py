"""Data sets: a name -> `Source`.

A new one is one function, which returns its splits, and one row of SOURCES.
"""

import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr.config import label_tables
from tf_simclr.config.automatic import limits_of
from tf_simclr.config.data_sections import DataConfig
from tf_simclr.config.values import FOLDER, same_data_set
from tf_simclr.console import announced_if_slow
from tf_simclr.data import folders, foreign_images, tfds_source
from tf_simclr.data.cores import mapped
from tf_simclr.data.image import DecodedImage, EncodedImage
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.source import Source, as_text, counted, fits_in_memory
from tf_simclr.errors import Failed, UserError, did_you_mean

EVAL_SPLITS = ("test", "validation", "val")  # splits to evaluate on, the first that there is


def digits(data: DataConfig) -> dict[str, Callable[[], Source]]:
    """scikit-learn's 1,797 gray 8x8 digits: 1,437 to train on, 360 to test.

    Stratified, always the same ones.
    """
    bunch, splits = _read_digits()
    gray = np.round(bunch.images * (255 / 16)).astype(np.uint8)  # [1797, 8, 8]
    images = np.repeat(gray[..., None], 3, -1)
    labels = bunch.target.astype(np.int64)
    class_names = tuple(map(str, bunch.target_names))
    return {
        split: functools.partial(
            Indexed, "digits", split, class_names, DecodedImage, images[index], labels[index]
        )
        for split, index in splits.items()
    }


@functools.cache  # it is a text file, which every split and stage would read again
def _read_digits():
    """(the file's content, {split: its indices})."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    train, test = train_test_split(
        np.arange(len(bunch.images)), test_size=360, stratify=bunch.target, random_state=0
    )
    return bunch, {"train": np.sort(train), "test": np.sort(test)}


def folder(data: DataConfig, moved: dict[str, bool] | None = None) -> folders.Splits:
    """The user's own images, see `folders.scan`."""
    is_simple = data.folder_layout == "simple"
    splits = folders.scan(data.dataset, data.labels, moved, is_simple)
    return splits.mapped(functools.partial(_folder_source, data))


def _folder_source(data, split, find_images):
    images = find_images()
    try:
        records, open_record = _records(data, images.paths)
    except FileNotFoundError as error:
        raise Failed(
            f"--dataset={as_text(data.dataset)}: {as_text(error.filename)} is gone since its "
            "folder was looked at; leave the files there, and give the same command again"
        ) from None
    return Indexed(
        data.dataset,
        split,
        images.class_names,
        open_record,
        records,
        images.labels,
        images.names,
        facts=images.facts,
    )


def _records(data, image_paths):
    """(paths or contents of files, object [N]; what makes images of them)."""
    # As texts of a fixed width all would take as much as the longest, and four times its letters.
    paths = np.array([foreign_images.usable_path(path) for path in image_paths], object)
    # The sizes are added up one by one: of a folder that is too large few files are looked at.
    num_bytes = itertools.accumulate(map(os.path.getsize, paths))
    if data.cache_dataset or all(map(fits_in_memory, num_bytes)):
        return _read_all(paths), EncodedImage
    return paths, _open_file


def _read_all(paths):
    """The contents of files, object [N]; by threads, since files of a network are waited for."""
    contents = np.empty(len(paths), object)
    with announced_if_slow(f"reading {counted(len(paths), 'image')} into memory"):
        for index, content in enumerate(mapped(_read, paths)):
            contents[index] = content
    return contents


def _read(path):
    return pathlib.Path(path).read_bytes()


def _open_file(path, value_range=None):
    return EncodedImage(tf.io.read_file(path), value_range)


SOURCES = {"digits": digits, "folder": folder}  # other names are those of tensorflow-datasets


def splits(
    data: DataConfig, moved: dict[str, bool] | None = None
) -> dict[str, Callable[[], Source]]:
    """{split: function -> `Source`} of `data.dataset`.

    Args:
        data: the data section of the configuration.
        moved: see `folders.scan`.

    Raises:
        UserError: as `load`.
    """
    name = data.dataset.split(":")[0]
    make = SOURCES.get(name)
    if make is folder or (make is None and _is_folder_here(data.dataset)):
        return folder(data, moved)
    if data.labels not in ("", label_tables.NO_LABELS):
        raise UserError(
            f"--labels={data.labels}: tables are for --dataset=folder:PATH; leave it out, or give "
            f"--labels={label_tables.NO_LABELS}"
        )
    return tfds_source.splits(data, SOURCES) if make is None else make(data)


def _is_folder_here(name):
    """Whether it is a folder in the working directory, and no data set."""
    if not os.path.isdir(name):
        return False
    import tensorflow_datasets

    return name not in tensorflow_datasets.list_builders()


def load(
    data: DataConfig, split: str, flag: str | None = None, moved: dict[str, bool] | None = None
) -> Source:
    """Loads a split of `data.dataset`.

    Args:
        data: the data section of the configuration.
        split: its name.
        flag: whose value it is, for messages; None: train_split or eval_split.
        moved: see `folders.scan`.

    Raises:
        UserError: an unknown data set or split, no readable image, nothing to download from.
    """
    source = require_split(data, split, splits(data, moved), flag)()
    if source.open is not DecodedImage:
        source = source.with_value_range(limits_of(data.value_range))
    if data.labels == label_tables.NO_LABELS:
        source = dataclasses.replace(source.without_labels(), class_names=())
    logging.info(
        "%s, split %s: %d images, %s",
        data.dataset,
        split,
        source.num_examples,
        f"{source.num_classes} classes" if source.num_classes else "no labels",
    )
    return source


def require_split(
    data: DataConfig, split: str, known: dict[str, Callable[[], Source]], flag: str | None = None
) -> Callable[[], Source]:
    """The function that reads a split of `splits`; arguments and errors as those of `load`."""
    try:
        return known[split]
    except KeyError:
        raise _no_such_split(data, split, flag, list(known)) from None


def _way_to_evaluate(data):
    train = os.path.join(data.dataset.removeprefix(FOLDER), "train")
    if os.path.isdir(train):
        return f"give {train} as the folder, a tenth of which is held out, or add one called test"
    return (
        "add images, e.g. a second one of each class, or labels of images that an earlier run held "
        "out (--mode=select --select_eval_count=20 asks for these)"
    )


def _no_such_split(data, split, flag, known):
    if flag is None:
        flag = "train_split" if split == data.train_split else "eval_split"
    others = [name for name in known if name != data.train_split]
    is_default = flag == "eval_split" and split == DataConfig().eval_split
    if is_default and not others:
        return UserError(
            f"{data.dataset} has no such split as {split}, only {', '.join(known)}, so there is "
            f"nothing to evaluate on: {_way_to_evaluate(data)}, train with --mode=train alone, or "
            f"give --eval_split={data.train_split}, which evaluates on what was trained on"
        )
    # Never suggest to evaluate what is trained on.
    suggested = others if flag == "eval_split" else known
    return UserError(
        f"--{flag}={split}: {data.dataset} has no such split, only {', '.join(known)}."
        f"{did_you_mean(split, suggested)}"
    )


def train_and_test(data: DataConfig, dataset: str) -> tuple[str, str]:
    """The names of the splits of `dataset` to train and to evaluate on.

    Raises:
        UserError: there are none.
    """
    try:
        known = list(splits(dataclasses.replace(data, dataset=dataset, labels="")))
    except UserError as error:
        raise UserError(str(error).replace("--dataset=", "--transfer_datasets=")) from None
    tests = [name for name in EVAL_SPLITS if name in known]
    if "train" not in known or not tests:
        raise UserError(
            f"--transfer_datasets={dataset}: a split train and one of {', '.join(EVAL_SPLITS)} are "
            f"needed, it has {', '.join(known)}"
        )
    return "train", tests[0]


def load_unlabeled(data: DataConfig, moved: dict[str, bool] | None = None) -> Source | None:
    """The source of `data.unlabeled_dataset` without its labels; None if there is none.

    Args:
        data: the data section of the configuration.
        moved: see `folders.scan`; of `data.dataset`.

    Raises:
        UserError: as `load`.
    """
    if not data.unlabeled_dataset:
        return None
    is_same = same_data_set(data.unlabeled_dataset, data.dataset)
    # A table of labels may also say which images are evaluated.
    labels = data.labels if is_same else ""
    options = dataclasses.replace(data, dataset=data.unlabeled_dataset, labels=labels)
    try:
        exceptions = moved if is_same else None
        return load(options, data.unlabeled_split, "unlabeled_split", exceptions).without_labels()
    except UserError as error:
        raise UserError(str(error).replace("--dataset=", "--unlabeled_dataset=")) from None
