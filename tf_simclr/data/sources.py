"""Data sets: a name -> `Source`. A new kind of source is one function and one line of SOURCES.

Two kinds of source exist. `Indexed` knows example number i at once, so its order is a pure function of the position and
training resumes exactly. `Streamed` reads files too large for memory through a shuffle buffer.
"""

import dataclasses
import functools
import os

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr.config import UserError, nearest
from tf_simclr.data import folder as folders

UNLABELED = -1  # the label of an example whose label is unknown or must not be used
MEMORY_LIMIT = 2**30  # bytes of encoded images that are kept in memory without asking
SHUFFLE_BUFFER = 8192  # examples a stream is shuffled over; encoded, about 1 GB of ImageNet


def decode(contents):
    """An encoded image (JPEG, PNG, BMP, the first frame of a GIF; grey, RGB or with alpha) -> uint8 [H, W, 3]."""

    def other():
        image = tf.io.decode_image(contents, expand_animations=False)  # [H, W, 1 to 4]
        grey = tf.shape(image)[-1] < 3
        return tf.cond(grey, lambda: tf.repeat(image[..., :1], 3, -1), lambda: image[..., :3])

    image = tf.cond(tf.io.is_jpeg(contents), lambda: tf.io.decode_jpeg(contents, channels=3), other)
    return tf.ensure_shape(image, [None, None, 3])


@dataclasses.dataclass(frozen=True)
class Source:
    """One split of a data set.

    `decode` turns a record into an image, uint8 [H, W, 3]. `class_names` is empty where there are no labels at all.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    decode: object

    @property
    def num_classes(self):
        return len(self.class_names)


@dataclasses.dataclass(frozen=True)
class Indexed(Source):
    """A source with random access: `records` [N] (images, encoded images or paths) and `labels` int64 [N]."""

    records: object
    labels: np.ndarray
    example_names: tuple[str, ...] = ()  # for the user, e.g. paths; empty: the number is the name

    @property
    def num_examples(self):
        return len(self.labels)

    @property
    def num_labeled(self):
        return int(np.sum(self.labels != UNLABELED))

    def example_ids(self):
        """([N] the ids by which a label subset is written down, [N] labels)."""
        return np.array(self.example_names or range(self.num_examples)), self.labels

    def with_labels_of(self, ids):
        """The same examples; those outside `ids` are unlabelled from here on."""
        mine = self.example_ids()[0]
        kept = np.isin(mine, ids)
        if kept.sum() != len(ids):
            missing = np.setdiff1d(ids, mine)
            raise UserError(f"{self.name}, split {self.split}: {len(missing)} of the {len(ids)} examples whose labels this run uses are not there any more, "
                            f"e.g. {missing[0]}; bring them back, or start a new --model_dir")
        return dataclasses.replace(self, labels=np.where(kept, self.labels, UNLABELED))

    def labeled(self):
        """Only the examples with a label."""
        return self.take(np.flatnonzero(self.labels != UNLABELED))

    def take(self, index):
        """Only the examples `index` (int64 [n])."""
        names = tuple(self.example_names[i] for i in index) if self.example_names else ()
        return dataclasses.replace(self, records=self.records[index], labels=self.labels[index], example_names=names)

    def at_most(self, count, seed=None):
        """The source cut to `count` examples: the first ones, or a seeded draw."""
        if self.num_examples <= count:
            return self
        return self.take(np.arange(count) if seed is None else np.sort(np.random.default_rng(seed).permutation(self.num_examples)[:count]))

    def shuffled(self, seed, start, batch_size, context):
        """Endless elements (epoch, id, record, label) from global position `start` on, a new order each epoch.

        Of every global batch this worker gets its own slice: which examples a step sees does not depend on how many
        workers there are.
        """
        n, records, labels = self.num_examples, self._tensor(), tf.constant(self.labels, tf.int64)
        local = batch_size // context.num_input_pipelines
        first = context.input_pipeline_id * local

        def element(position):
            epoch = position // n
            order = tf.cast(tf.stack([tf.constant(seed, tf.int64), epoch]), tf.int32)
            index = tf.random.experimental.index_shuffle(position % n, order, n - 1) if n > 1 else position % n
            return epoch, index, records[index], labels[index]

        steps = tf.data.Dataset.range(start // batch_size, tf.int64.max // batch_size)
        return steps.flat_map(lambda s: tf.data.Dataset.range(s * batch_size + first, s * batch_size + first + local)).map(element)

    def ordered(self):
        """Elements (record, label), each example once, always in the same order."""
        index = tf.data.Dataset.range(self.num_examples)
        records, labels = self._tensor(), tf.constant(self.labels, tf.int64)
        return index.map(lambda i: (records[i], labels[i]))

    def _tensor(self):
        with tf.device("cpu"):
            return tf.constant(self.records)


@dataclasses.dataclass(frozen=True)
class Streamed(Source):
    """A source that is read from its files in order: `read(context)` -> data set of (id string, record, label).

    A resumed run goes on at the same position of the same order (one pipeline; with several workers each has files of
    its own), after reading past what it had seen of the epoch.
    """

    read: object
    num_examples: int
    num_labeled: int

    def example_ids(self):
        logging.info("%s: reading all labels of split %s to choose some", self.name, self.split)
        pairs = [(key, label) for key, _, label in self.read(None).as_numpy_iterator()]
        return np.array([key.decode() for key, _ in pairs]), np.array([label for _, label in pairs])

    def with_labels_of(self, ids):
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(tf.constant(list(map(str, ids))), tf.ones(len(ids), tf.int64)), 0)

        def read(context):
            return self.read(context).map(
                lambda key, record, label: (key, record, tf.where(table.lookup(key) == 1, label, tf.cast(UNLABELED, label.dtype))))

        return dataclasses.replace(self, read=read, num_labeled=len(ids))

    def labeled(self):
        if self.num_labeled == self.num_examples:
            return self
        return dataclasses.replace(
            self, read=lambda context: self.read(context).filter(lambda key, record, label: label != UNLABELED), num_examples=self.num_labeled)

    def at_most(self, count, seed=None):
        """The source cut to its first `count` examples; its files are in random order already, so `seed` is not used."""
        if self.num_examples <= count:
            return self
        return dataclasses.replace(
            self, read=lambda context: self.read(context).take(count), num_examples=count, num_labeled=min(self.num_labeled, count))

    def shuffled(self, seed, start, batch_size, context):
        """As `Indexed.shuffled`, shuffled over a buffer of SHUFFLE_BUFFER examples."""
        position = start // context.num_input_pipelines
        share = max(self.num_examples // context.num_input_pipelines, 1)
        files = self.read(context)

        def one_epoch(epoch):
            tf.random.set_seed(1)  # of this function's graph: `shuffle` mixes it in, and fails where the process has set 0
            shuffled = files.shuffle(SHUFFLE_BUFFER, seed=epoch * 1_000_003 + seed, reshuffle_each_iteration=False)
            skipped = shuffled.skip(tf.where(epoch == position // share, tf.constant(position % share, tf.int64), 0))
            return skipped.map(lambda key, record, label: (epoch, tf.strings.to_hash_bucket_fast(key, 2**31 - 1), record, label))

        return tf.data.Dataset.range(position // share, tf.int64.max).flat_map(one_epoch)

    def ordered(self):
        return self.read(None).map(lambda key, record, label: (record, label))


def digits(data):
    """scikit-learn's 1,797 grey 8x8 digits: 1,437 to train on, 360 to test, stratified, always the same ones."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = np.repeat(np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None], 3, -1)  # [1797, 8, 8, 3]
    index = train_test_split(np.arange(len(images)), test_size=360, stratify=bunch.target, random_state=0)
    names = tuple(map(str, bunch.target_names))
    return {
        split: functools.partial(Indexed, "digits", split, names, lambda record: record, images[np.sort(rows)], bunch.target[np.sort(rows)].astype(np.int64))
        for split, rows in zip(("train", "test"), index)}


def folder(data):
    """The user's own images, see `folder.scan`."""
    path = data.dataset.removeprefix("folder:")
    return {
        split: functools.partial(_folder_source, data, split, names, files, labels)
        for split, (names, files, labels) in folders.scan(path).items()}


def _folder_source(data, split, class_names, files, labels):
    root = data.dataset.removeprefix("folder:")
    good = folders.readable(root, files)
    files = [files[i] for i in good]
    paths = np.array([os.path.join(root, file) for file in files])
    if data.cache_dataset:
        records, read = [tf.io.read_file(path).numpy() for path in paths], decode
        return Indexed(data.dataset, split, class_names, read, np.array(records, object), labels[good], tuple(files))
    return Indexed(data.dataset, split, class_names, lambda path: decode(tf.io.read_file(path)), paths, labels[good], tuple(files))


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

    tensorflow_datasets.disable_progress_bar()
    try:
        builder = tensorflow_datasets.builder(data.dataset, data_dir=data.data_dir or None)
    except (tensorflow_datasets.core.DatasetNotFoundError, ValueError) as error:
        known = [*SOURCES, *tensorflow_datasets.list_builders()]
        if data.dataset.split("/")[0].split(":")[0] in known:
            raise UserError(f"--dataset={data.dataset}: {' '.join(str(error).split())}") from None
        raise UserError(f"--dataset={data.dataset}: neither digits, folder:PATH nor a data set of tensorflow-datasets.{nearest(data.dataset, known)}") from None
    try:
        builder.download_and_prepare()
    except Exception as error:  # whatever the network, the disk or a missing manual download raises
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"--dataset={data.dataset}: it isn't prepared in {builder.data_dir} and can't be downloaded ({reason}); "
                        "give the folder that has it as --data_dir") from None
    return _Splits(builder.info.splits, functools.partial(_tfds_source, builder, data))


def _tfds_source(builder, data, split):
    import tensorflow_datasets

    features = builder.info.features
    image = next((key for key, feature in features.items() if isinstance(feature, tensorflow_datasets.features.Image)), None)
    if image is None:
        raise UserError(f"--dataset={data.dataset}: it has no image feature, only {', '.join(features)}")
    classes = [key for key, feature in features.items() if isinstance(feature, tensorflow_datasets.features.ClassLabel)]
    label = "label" if "label" in classes else classes[0] if classes else None
    names = tuple(features[label].names) if label else ()
    try:
        info = builder.info.splits[split]
    except ValueError as error:
        raise UserError(f"--dataset={data.dataset}: no split '{split}': {' '.join(str(error).split())}") from None

    def read(context):
        def pick(example):
            return example["tfds_id"], example[image], tf.cast(example[label], tf.int64) if label else tf.constant(UNLABELED, tf.int64)

        shards = context is not None and context.num_input_pipelines > 1
        by_file = shards and info.num_shards >= context.num_input_pipelines
        config = tensorflow_datasets.ReadConfig(add_tfds_id=True, input_context=context if by_file else None)
        dataset = builder.as_dataset(split=split, decoders={image: tensorflow_datasets.decode.SkipDecoding()}, read_config=config)
        if shards and not by_file:
            dataset = dataset.shard(context.num_input_pipelines, context.input_pipeline_id)
        return dataset.map(pick)

    share = info.num_examples / max(builder.info.splits.total_num_examples, 1)  # the size of a slice is not known otherwise
    if not data.cache_dataset and share * builder.info.dataset_size > MEMORY_LIMIT:
        return Streamed(data.dataset, split, names, decode, read, info.num_examples, info.num_examples if label else 0)
    rows = list(read(None).as_numpy_iterator())
    records = np.array([record for _, record, _ in rows], object)
    ids = tuple(key.decode() for key, _, _ in rows)  # as Streamed has them: a label subset stays valid if the kind changes
    return Indexed(data.dataset, split, names, decode, records, np.array([label for _, _, label in rows], np.int64), ids)


SOURCES = {"digits": digits, "folder": folder}  # every other name is asked of tensorflow-datasets


def load(data, split):
    """The `Source` of `data.dataset` (the data section of the configuration) and `split`.

    Raises:
        UserError: an unknown data set or split, no readable image, nothing to download from.
    """
    splits = SOURCES.get(data.dataset.split(":")[0], tfds)(data)
    try:
        make = splits[split]
    except KeyError:
        flag = "train_split" if split == data.train_split else "eval_split"
        raise UserError(f"--{flag}={split}: {data.dataset} has no such split, only {', '.join(splits)}.{nearest(split, splits)}") from None
    source = make()
    labels = f"{source.num_classes} classes" if source.num_classes else "no labels"
    logging.info("%s, split %s: %d images, %s", data.dataset, split, source.num_examples, labels)
    return source
