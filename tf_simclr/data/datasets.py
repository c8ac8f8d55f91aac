"""Data sets: a name -> `Source`. A new one is one function, which returns its splits, and one line of SOURCES."""

import dataclasses
import functools
import os
import sys

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr.data import image_folder
from tf_simclr.data.image import DecodedImage, EncodedImage
from tf_simclr.data.source import UNLABELED, Indexed, Streamed, as_text
from tf_simclr.errors import UserError, did_you_mean

EVALUATED = ("test", "validation", "val")  # names of splits to evaluate on, the first that there is
MEMORY_LIMIT = 2**30  # bytes of encoded images that are kept in memory without asking


def digits(data):
    """scikit-learn's 1,797 grey 8x8 digits: 1,437 to train on, 360 to test, stratified, always the same ones."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = np.repeat(
        np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None], 3, -1
    )  # [1797, 8, 8, 3]
    index = train_test_split(
        np.arange(len(images)), test_size=360, stratify=bunch.target, random_state=0
    )
    names = tuple(map(str, bunch.target_names))
    return {
        split: functools.partial(
            Indexed,
            "digits",
            split,
            names,
            DecodedImage,
            images[np.sort(rows)],
            bunch.target[np.sort(rows)].astype(np.int64),
        )
        for split, rows in zip(("train", "test"), index)
    }


def folder(data):
    """The user's own images, see `folder.scan`."""
    path = data.dataset.removeprefix("folder:")
    return {
        split: functools.partial(_folder_source, data, split, find)
        for split, find in image_folder.scan(path).items()
    }


def _folder_source(data, split, find):
    root = data.dataset.removeprefix("folder:")
    class_names, files, labels = find()
    class_names = tuple(map(as_text, class_names))
    paths = np.array([os.path.join(root, file) for file in files])
    if data.cache_dataset or sum(map(os.path.getsize, paths)) <= MEMORY_LIMIT:
        records = np.array([tf.io.read_file(os.fsencode(path)).numpy() for path in paths], object)
        return Indexed(
            data.dataset, split, class_names, EncodedImage, records, labels, tuple(files)
        )
    return Indexed(
        data.dataset,
        split,
        class_names,
        lambda path: EncodedImage(tf.io.read_file(path)),
        paths,
        labels,
        tuple(files),
    )


class _Splits(dict):
    """Splits of a tensorflow-datasets data set: also slices such as train[:90%]."""

    def __init__(self, names, make):
        super().__init__({name: functools.partial(make, name) for name in names})
        self.make = make

    def __missing__(self, split):
        if "[" not in split and "+" not in split:
            raise KeyError(split)
        return functools.partial(self.make, split)


def tfds(data):
    """Any image data set of tensorflow-datasets, downloaded and prepared where that has not been done."""
    import tensorflow_datasets

    if not sys.stderr.isatty():
        tensorflow_datasets.disable_progress_bar()
    try:
        builder = tensorflow_datasets.builder(data.dataset, data_dir=data.data_dir or None)
    except (tensorflow_datasets.core.DatasetNotFoundError, ValueError) as error:
        known = [*SOURCES, *tensorflow_datasets.list_builders()]
        if data.dataset.split("/")[0].split(":")[0] in known:
            raise UserError(f"--dataset={data.dataset}: {' '.join(str(error).split())}") from None
        raise UserError(
            f"--dataset={data.dataset}: neither digits, folder:PATH nor a data set of tensorflow-datasets.{did_you_mean(data.dataset, known)}"
        ) from None
    try:
        if not builder.is_prepared():
            logging.info(
                "%s is not in %s: downloading and preparing it, which can take long",
                data.dataset,
                builder.data_dir,
            )
        builder.download_and_prepare()
    except Exception as error:  # whatever the network, the disk or a missing manual download raises
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"--dataset={data.dataset}: it isn't prepared in {builder.data_dir} and can't be downloaded ({reason}); "
            "give the folder that has it as --data_dir"
        ) from None
    return _Splits(builder.info.splits, functools.partial(_tfds_source, builder, data))


def _tfds_source(builder, data, split):
    import tensorflow_datasets

    features = builder.info.features
    image = next(
        (
            key
            for key, feature in features.items()
            if isinstance(feature, tensorflow_datasets.features.Image)
        ),
        None,
    )
    if image is None:
        raise UserError(
            f"--dataset={data.dataset}: it has no image feature, only {', '.join(features)}"
        )
    classes = [
        key
        for key, feature in features.items()
        if isinstance(feature, tensorflow_datasets.features.ClassLabel)
    ]
    label = "label" if "label" in classes else classes[0] if classes else None
    names = tuple(features[label].names) if label else ()
    try:
        info = builder.info.splits[split]
    except ValueError as error:
        raise UserError(
            f"--dataset={data.dataset}: no split '{split}': {' '.join(str(error).split())}"
        ) from None

    def read(context):
        def pick(example):
            return (
                example["tfds_id"],
                example[image],
                tf.cast(example[label], tf.int64) if label else tf.constant(UNLABELED, tf.int64),
            )

        shards = context is not None and context.num_input_pipelines > 1
        by_file = shards and info.num_shards >= context.num_input_pipelines
        config = tensorflow_datasets.ReadConfig(
            add_tfds_id=True, input_context=context if by_file else None
        )
        dataset = builder.as_dataset(
            split=split,
            decoders={image: tensorflow_datasets.decode.SkipDecoding()},
            read_config=config,
        )
        if shards and not by_file:
            dataset = dataset.shard(context.num_input_pipelines, context.input_pipeline_id)
        return dataset.map(pick)

    stream = Streamed(
        data.dataset,
        split,
        names,
        EncodedImage,
        read,
        info.num_examples,
        info.num_examples if label else 0,
    )
    share = info.num_examples / max(
        builder.info.splits.total_num_examples, 1
    )  # the size of a slice is not known otherwise
    large = not data.cache_dataset and share * builder.info.dataset_size > MEMORY_LIMIT
    return stream if large else stream.in_memory(info.num_examples)


SOURCES = {"digits": digits, "folder": folder}  # every other name is asked of tensorflow-datasets


def splits(data):
    """{split: function -> `Source`} of `data.dataset` (the data section of the configuration). Raises as `load`."""
    return SOURCES.get(data.dataset.split(":")[0], tfds)(data)


def load(data, split, flag=None):
    """The `Source` of `data.dataset` and `split`, the value of `flag` (None: train_split or eval_split).

    Raises:
        UserError: an unknown data set or split, no readable image, nothing to download from.
    """
    known = splits(data)
    try:
        make = known[split]
    except KeyError:
        flag = flag or ("train_split" if split == data.train_split else "eval_split")
        others = [
            name for name in known if flag != "eval_split" or name != data.train_split
        ]  # never evaluate what is trained on
        raise UserError(
            f"--{flag}={split}: {data.dataset} has no such split, only {', '.join(known)}.{did_you_mean(split, others)}"
        ) from None
    source = make()
    labels = f"{source.num_classes} classes" if source.num_classes else "no labels"
    logging.info("%s, split %s: %d images, %s", data.dataset, split, source.num_examples, labels)
    return source


def train_and_test(data, dataset):
    """The names of the splits of `dataset` to train and to evaluate on. Raises UserError where there are none."""
    try:
        known = [*splits(dataclasses.replace(data, dataset=dataset))]
    except UserError as error:
        raise UserError(str(error).replace("--dataset=", "--transfer_datasets=")) from None
    test = next((name for name in EVALUATED if name in known), None)
    if "train" not in known or test is None:
        raise UserError(
            f"--transfer_datasets={dataset}: a split train and one of {', '.join(EVALUATED)} are needed, it has {', '.join(known)}"
        )
    return "train", test


def load_unlabeled(data):
    """The source of `data.unlabeled_dataset` without its labels, None if there is no such data set. Raises as `load`."""
    if not data.unlabeled_dataset:
        return None
    try:
        return load(
            dataclasses.replace(data, dataset=data.unlabeled_dataset),
            data.unlabeled_split,
            "unlabeled_split",
        ).without_labels()
    except UserError as error:
        raise UserError(str(error).replace("--dataset=", "--unlabeled_dataset=")) from None
