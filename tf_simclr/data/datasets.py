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

from tf_simclr.config.sections import DataConfig
from tf_simclr.data import image_folder
from tf_simclr.data.image import DecodedImage, EncodedImage
from tf_simclr.data.source import UNLABELED, Indexed, Source, as_text
from tf_simclr.data.streamed_source import Streamed
from tf_simclr.errors import UserError, did_you_mean

EVAL_SPLITS = ("test", "validation", "val")  # splits to evaluate on, the first that there is
MEMORY_LIMIT = 2**30  # bytes of encoded images that are kept in memory by default
FOLDER_PREFIX = "folder:"
MAX_REASON = 300  # characters of an error that are quoted


def digits(data: DataConfig) -> dict[str, Callable[[], Source]]:
    """scikit-learn's 1,797 gray 8x8 digits: 1,437 to train on, 360 to test.

    Stratified, always the same ones.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    gray = np.round(bunch.images * (255 / 16)).astype(np.uint8)  # [1797, 8, 8]
    images = np.repeat(gray[..., None], 3, -1)
    labels = bunch.target.astype(np.int64)
    class_names = tuple(map(str, bunch.target_names))
    train, test = train_test_split(
        np.arange(len(images)), test_size=360, stratify=bunch.target, random_state=0
    )
    splits = {"train": np.sort(train), "test": np.sort(test)}
    return {
        split: functools.partial(
            Indexed, "digits", split, class_names, DecodedImage, images[index], labels[index]
        )
        for split, index in splits.items()
    }


def folder(data: DataConfig) -> dict[str, Callable[[], Source]]:
    """The user's own images, see `image_folder.scan`."""
    splits = image_folder.scan(data.dataset.removeprefix(FOLDER_PREFIX))
    return {
        split: functools.partial(_folder_source, data, split, find_files)
        for split, find_files in splits.items()
    }


def _folder_source(data, split, find_files):
    root = data.dataset.removeprefix(FOLDER_PREFIX)
    class_names, files, labels = find_files()
    class_names = tuple(map(as_text, class_names))
    paths = np.array([os.path.join(root, file) for file in files])
    num_bytes = sum(map(os.path.getsize, paths))
    if data.cache_dataset or num_bytes <= MEMORY_LIMIT:
        contents = [tf.io.read_file(os.fsencode(path)).numpy() for path in paths]
        records, open_record = np.array(contents, object), EncodedImage
    else:
        records, open_record = paths, _open_file
    return Indexed(data.dataset, split, class_names, open_record, records, labels, tuple(files))


def _open_file(path):
    return EncodedImage(tf.io.read_file(path))


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
    image_key, label_key = _tfds_keys(features)
    if image_key is None:
        raise UserError(
            f"--dataset={data.dataset}: it has no image feature, only {', '.join(features)}"
        )
    class_names = tuple(features[label_key].names) if label_key else ()
    try:
        info = builder.info.splits[split]
    except ValueError as error:
        raise UserError(
            f"--dataset={data.dataset}: no split '{split}': {_one_line(error)}"
        ) from None
    source = Streamed(
        data.dataset,
        split,
        class_names,
        EncodedImage,
        read=functools.partial(_read_tfds, builder, split, image_key, label_key),
        num_examples=info.num_examples,
        num_labeled=info.num_examples if label_key else 0,
    )
    # The size of a slice is not known otherwise.
    share = info.num_examples / max(builder.info.splits.total_num_examples, 1)
    is_large = share * builder.info.dataset_size > MEMORY_LIMIT
    if is_large and not data.cache_dataset:
        return source
    return source.in_memory(info.num_examples)


def _tfds_keys(features):
    """(key of the image, key of the label), each None if there is none."""
    import tensorflow_datasets

    kinds = tensorflow_datasets.features
    images = [key for key, feature in features.items() if isinstance(feature, kinds.Image)]
    labels = [key for key, feature in features.items() if isinstance(feature, kinds.ClassLabel)]
    image_key = images[0] if images else None
    if "label" in labels:
        return image_key, "label"
    return image_key, labels[0] if labels else None


def _read_tfds(builder, split, image_key, label_key, context):
    """A data set of (id, encoded image, label) for one worker."""
    import tensorflow_datasets

    def pick(example):
        label = tf.constant(UNLABELED, tf.int64)
        if label_key:
            label = tf.cast(example[label_key], tf.int64)
        return example["tfds_id"], example[image_key], label

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


def splits(data: DataConfig) -> dict[str, Callable[[], Source]]:
    """{split: function -> `Source`} of `data.dataset`.

    Raises:
        UserError: as `load`.
    """
    name = data.dataset.split(":")[0]
    return SOURCES.get(name, tfds)(data)


def load(data: DataConfig, split: str, flag: str | None = None) -> Source:
    """Loads a split of `data.dataset`.

    Args:
        data: the data section of the configuration.
        split: its name.
        flag: whose value it is, for messages; None: train_split or eval_split.

    Raises:
        UserError: an unknown data set or split, no readable image, nothing to download from.
    """
    known = splits(data)
    try:
        make = known[split]
    except KeyError:
        if flag is None:
            flag = "train_split" if split == data.train_split else "eval_split"
        # Never suggest to evaluate what is trained on.
        is_eval = flag == "eval_split"
        suggested = [name for name in known if not is_eval or name != data.train_split]
        raise UserError(
            f"--{flag}={split}: {data.dataset} has no such split, only {', '.join(known)}."
            f"{did_you_mean(split, suggested)}"
        ) from None
    source = make()
    logging.info(
        "%s, split %s: %d images, %s",
        data.dataset,
        split,
        source.num_examples,
        f"{source.num_classes} classes" if source.num_classes else "no labels",
    )
    return source


def train_and_test(data: DataConfig, dataset: str) -> tuple[str, str]:
    """The names of the splits of `dataset` to train and to evaluate on.

    Raises:
        UserError: there are none.
    """
    try:
        known = list(splits(dataclasses.replace(data, dataset=dataset)))
    except UserError as error:
        raise UserError(str(error).replace("--dataset=", "--transfer_datasets=")) from None
    tests = [name for name in EVAL_SPLITS if name in known]
    if "train" not in known or not tests:
        raise UserError(
            f"--transfer_datasets={dataset}: a split train and one of {', '.join(EVAL_SPLITS)} are "
            f"needed, it has {', '.join(known)}"
        )
    return "train", tests[0]


def load_unlabeled(data: DataConfig) -> Source | None:
    """The source of `data.unlabeled_dataset` without its labels; None if there is none.

    Raises:
        UserError: as `load`.
    """
    if not data.unlabeled_dataset:
        return None
    options = dataclasses.replace(data, dataset=data.unlabeled_dataset)
    try:
        return load(options, data.unlabeled_split, "unlabeled_split").without_labels()
    except UserError as error:
        raise UserError(str(error).replace("--dataset=", "--unlabeled_dataset=")) from None
