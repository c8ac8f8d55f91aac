"""Data sets of tensorflow-datasets."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr.config.data_sections import DataConfig
from tf_simclr.data import tfds_features
from tf_simclr.data.image import EncodedImage
from tf_simclr.data.source import UNLABELED, Source, fits_in_memory
from tf_simclr.data.streamed_source import Streamed
from tf_simclr.errors import UserError, did_you_mean

MAX_REASON = 300  # characters of an error that are quoted


class _Splits(dict):
    """Splits of a tensorflow-datasets data set: also slices such as train[:90%]."""

    def __init__(self, names, make):
        super().__init__({name: functools.partial(make, name) for name in names})
        self.make = make

    def __missing__(self, split):
        if "[" not in split and "+" not in split:
            raise KeyError(split)
        return functools.partial(self.make, split)


def splits(data: DataConfig, other_names: Iterable[str]) -> dict[str, Callable[[], Source]]:
    """Any image data set of tensorflow-datasets, downloaded and prepared where it is not yet.

    Args:
        data: the data section of the configuration.
        other_names: of data sets from elsewhere, for what a misspelled name may mean.

    Raises:
        UserError: there is no such data set, or it is neither prepared nor can be downloaded.
    """
    import tensorflow_datasets

    if not sys.stderr.isatty():
        tensorflow_datasets.disable_progress_bar()
    builder = _builder(data, other_names)
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
    return _Splits(builder.info.splits, functools.partial(_source, builder, data))


def _builder(data, other_names):
    import tensorflow_datasets

    try:
        return tensorflow_datasets.builder(data.dataset, data_dir=data.data_dir or None)
    except (tensorflow_datasets.core.DatasetNotFoundError, ValueError) as error:
        known = [*other_names, *tensorflow_datasets.list_builders()]
        name = data.dataset.split("/")[0].split(":")[0]
        if name in known:
            raise UserError(f"--dataset={data.dataset}: {_one_line(error)}") from None
        raise UserError(
            f"--dataset={data.dataset}: neither digits, folder:PATH nor a data set of "
            f"tensorflow-datasets.{did_you_mean(data.dataset, known)}"
        ) from None


def _one_line(error):
    return " ".join(str(error).split())


def _source(builder, data, split):
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
        read=functools.partial(_read, builder, split, image_key, label),
        num_examples=info.num_examples,
        num_labeled=0,  # counted below, where they are not read anyway
    )
    # The size of a slice is not known otherwise.
    share = info.num_examples / max(builder.info.splits.total_num_examples, 1)
    if data.cache_dataset or fits_in_memory(share * builder.info.dataset_size):
        return source.in_memory(info.num_examples)
    num_labeled = _num_labeled(builder, split, label, info.num_examples)
    return dataclasses.replace(source, num_labeled=num_labeled)


def _num_labeled(builder, split, label, num_examples):
    if label.key is None:
        return 0
    if label.numbers is None and not tfds_features.has_unlabeled(builder, split, label.key):
        return num_examples
    numbers = tfds_features.read_numbers(builder, split, label.key)
    return int(np.sum(numbers >= 0))


def _read(builder, split, image_key, label, context, seed=None):
    """A data set of (id, encoded image, label) for one worker, see `Streamed`."""
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
        add_tfds_id=True, input_context=context if by_file else None, shuffle_seed=seed
    )
    dataset = builder.as_dataset(
        split=split,
        decoders={image_key: tensorflow_datasets.decode.SkipDecoding()},
        read_config=config,
        # tensorflow-datasets refuses it for data sets whose order matters, as that of videos.
        shuffle_files=seed is not None and not builder.info.disable_shuffling,
    )
    if is_sharded and not by_file:
        dataset = dataset.shard(context.num_input_pipelines, context.input_pipeline_id)
    return dataset.map(pick)
