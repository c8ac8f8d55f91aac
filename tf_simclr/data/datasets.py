"""Data sets: a name -> `Source`.

A new one is one function, which returns its splits, and one row of SOURCES.
"""

import dataclasses
import functools
import os
import sys
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr.config.automatic import limits_of
from tf_simclr.config.data_sections import DataConfig
from tf_simclr.data import folders, foreign_images, tfds_features
from tf_simclr.data.image import DecodedImage, EncodedImage
from tf_simclr.data.source import UNLABELED, Indexed, Source
from tf_simclr.data.streamed_source import Streamed
from tf_simclr.errors import UserError, did_you_mean

EVAL_SPLITS = ("test", "validation", "val")  # splits to evaluate on, the first that there is
MEMORY_LIMIT = 2**30  # bytes of encoded images that are kept in memory by default
MAX_REASON = 300  # characters of an error that are quoted


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
    paths = np.array([foreign_images.usable_path(path) for path in images.paths])
    num_bytes = sum(map(os.path.getsize, paths))
    if data.cache_dataset or num_bytes <= MEMORY_LIMIT:
        contents = [tf.io.read_file(os.fsencode(path)).numpy() for path in paths]
        records, open_record = np.array(contents, object), EncodedImage
    else:
        records, open_record = paths, _open_file
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


def _open_file(path, value_range=None):
    return EncodedImage(tf.io.read_file(path), value_range)


class _Splits(dict):
    """Splits of a tensorflow-datasets data set: also slices such as train[:90%]."""

    def __init__(self, names, make):
        super().__init__({name: functools.partial(make, name) for name in names})
        self.make = make

    def __missing__(self, split):
        if "[" not in split and "+" not in split:
            raise KeyError(split)
        return functools.partial(self.make, split)


def tfds(data: DataConfig) -> dict[str, Callable[[], Source]]:
    """Any image data set of tensorflow-datasets, downloaded and prepared where it is not yet."""
    import tensorflow_datasets

    if not sys.stderr.isatty():
        tensorflow_datasets.disable_progress_bar()
    builder = _tfds_builder(data)
    try:
        if not builder.is_prepared():
            logging.info(
                "%s is not in %s: downloading and preparing it, which can take long",
                data.dataset,
                builder.data_dir,
            )
        builder.download_and_prepare()
    except Exception as error:  # whatever the network, the disk or a manual download raises
        reason = _one_line(error)[:MAX_REASON]
        raise UserError(
            f"--dataset={data.dataset}: it isn't prepared in {builder.data_dir} and can't be "
            f"downloaded ({reason}); give the folder that has it as --data_dir"
        ) from None
    return _Splits(builder.info.splits, functools.partial(_tfds_source, builder, data))


def _tfds_builder(data):
    import tensorflow_datasets

    try:
        return tensorflow_datasets.builder(data.dataset, data_dir=data.data_dir or None)
    except (tensorflow_datasets.core.DatasetNotFoundError, ValueError) as error:
        known = [*SOURCES, *tensorflow_datasets.list_builders()]
        name = data.dataset.split("/")[0].split(":")[0]
        if name in known:
            raise UserError(f"--dataset={data.dataset}: {_one_line(error)}") from None
        raise UserError(
            f"--dataset={data.dataset}: neither digits, folder:PATH nor a data set of "
            f"tensorflow-datasets.{did_you_mean(data.dataset, known)}"
        ) from None


def _one_line(error):
    return " ".join(str(error).split())


def _tfds_source(builder, data, split):
    features = builder.info.features
    image_key = tfds_features.require_image(features, data.dataset)
    label = tfds_features.label_of(builder, data.dataset)
    try:
        info = builder.info.splits[split]
    except ValueError as error:
        raise UserError(
            f"--dataset={data.dataset}: no split '{split}': {_one_line(error)}"
        ) from None
    source = Streamed(
        data.dataset,
        split,
        label.class_names,
        EncodedImage,
        read=functools.partial(_read_tfds, builder, split, image_key, label),
        num_examples=info.num_examples,
        num_labeled=_num_labeled(builder, split, label, info.num_examples),
    )
    # The size of a slice is not known otherwise.
    share = info.num_examples / max(builder.info.splits.total_num_examples, 1)
    is_large = share * builder.info.dataset_size > MEMORY_LIMIT
    if is_large and not data.cache_dataset:
        return source
    return source.in_memory(info.num_examples)


def _num_labeled(builder, split, label, num_examples):
    if label.key is None:
        return 0
    if label.numbers is None:
        return num_examples
    numbers = tfds_features.read_numbers(builder, split, label.key)
    return int(np.sum(numbers >= 0))


def _read_tfds(builder, split, image_key, label, context):
    """A data set of (id, encoded image, label) for one worker."""
    import tensorflow_datasets

    def label_of(example):
        if label.key is None:
            return tf.constant(UNLABELED, tf.int64)
        number = tf.cast(example[label.key], tf.int64)
        if label.numbers is None:
            return number
        is_class = tf.equal(tf.constant(label.numbers, tf.int64), number)
        return tf.where(tf.reduce_any(is_class), tf.argmax(is_class), UNLABELED)

    def pick(example):
        return example["tfds_id"], example[image_key], label_of(example)

    is_sharded = context is not None and context.num_input_pipelines > 1
    num_files = builder.info.splits[split].num_shards
    by_file = is_sharded and num_files >= context.num_input_pipelines
    config = tensorflow_datasets.ReadConfig(
        add_tfds_id=True, input_context=context if by_file else None
    )
    dataset = builder.as_dataset(
        split=split,
        decoders={image_key: tensorflow_datasets.decode.SkipDecoding()},
        read_config=config,
    )
    if is_sharded and not by_file:
        dataset = dataset.shard(context.num_input_pipelines, context.input_pipeline_id)
    return dataset.map(pick)


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
    make = SOURCES.get(name, tfds)
    if make is folder or (make is tfds and _is_folder_here(data.dataset)):
        return folder(data, moved)
    if data.labels not in ("", folders.NO_LABELS):
        raise UserError(
            f"--labels={data.labels}: tables are for --dataset=folder:PATH; leave it out, or give "
            f"--labels={folders.NO_LABELS}"
        )
    return make(data)


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
    if data.labels == folders.NO_LABELS:
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


def _no_such_split(data, split, flag, known):
    if flag is None:
        flag = "train_split" if split == data.train_split else "eval_split"
    others = [name for name in known if name != data.train_split]
    is_default = flag == "eval_split" and split == DataConfig().eval_split
    if is_default and not others:
        return UserError(
            f"{data.dataset} has no such split as {split}, only {', '.join(known)}, so there is "
            "nothing to evaluate on: add images, e.g. a second one of each class, train with "
            f"--mode=train alone, or give --eval_split={data.train_split}, which evaluates on what "
            "was trained on"
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
    options = dataclasses.replace(data, dataset=data.unlabeled_dataset, labels="")
    try:
        same = moved if data.unlabeled_dataset == data.dataset else None
        return load(options, data.unlabeled_split, "unlabeled_split", same).without_labels()
    except UserError as error:
        raise UserError(str(error).replace("--dataset=", "--unlabeled_dataset=")) from None
