"""What a data set is to the rest of the program: `Source`.

Two kinds exist. `Indexed` knows example number i at once, so its order is a pure function of the position and training
resumes exactly. `Streamed` reads files too large for memory through a shuffle buffer.
"""

import dataclasses
import hashlib
import os

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr.errors import UserError

UNLABELED = -1  # the label of an example whose label is unknown or must not be used
SHUFFLE_BUFFER = 8192  # examples a stream is shuffled over; encoded, about 1 GB of ImageNet


def as_text(name):
    """`name`, which may be that of a file and so any bytes, as it can be written."""
    return str(name).encode("utf-8", "backslashreplace").decode()


@dataclasses.dataclass(frozen=True)
class Source:
    """One split of a data set.

    `open` turns a record into what `picture` describes. `class_names` is empty where there are no labels at all.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    open: object
    by_path = (
        False  # whether the records are the paths of files, which are read when they are needed
    )

    @property
    def num_classes(self):
        return len(self.class_names)

    def decode(self, record):
        """The whole image of a record, uint8 [H, W, 3]."""
        return self.open(record).whole()

    def fingerprint(self):
        """Text that is another one if the examples are: their number, order, labels or images."""
        raise NotImplementedError

    def names_of(self, index):
        """What the user knows the examples `index` (int64 [n]) by."""
        return list(map(str, index))

    def pick(self, index):
        """The (record, label) of the examples `index` (int64 [n], rising), in their order, as a data set."""
        raise NotImplementedError


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
    def by_path(self):
        return self.records.dtype.kind == "U"

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
            raise UserError(
                f"{self.name}, split {self.split}: {len(missing)} of the {len(ids)} examples whose labels this run uses are not there any more, "
                f"e.g. {missing[0]}; bring them back, or start a new --model_dir"
            )
        return dataclasses.replace(self, labels=np.where(kept, self.labels, UNLABELED))

    def without_labels(self):
        """The same examples, all unlabelled."""
        return dataclasses.replace(self, labels=np.full_like(self.labels, UNLABELED))

    def labeled(self, has_label=True):
        """Only the examples with a label, or only those without."""
        return self.take(np.flatnonzero((self.labels != UNLABELED) == has_label))

    def take(self, index):
        """Only the examples `index` (int64 [n])."""
        names = tuple(self.example_names[i] for i in index) if self.example_names else ()
        return dataclasses.replace(
            self, records=self.records[index], labels=self.labels[index], example_names=names
        )

    def at_most(self, count, seed=None):
        """The source cut to `count` examples: the first ones, or a seeded draw."""
        return (
            self
            if self.num_examples <= count
            else self.take(np.arange(count) if seed is None else self.draw(count, seed))
        )

    def draw(self, count, seed):
        """The positions, in order, of `count` examples drawn at random, or of all if there are no more."""
        return np.sort(np.random.default_rng(seed).permutation(self.num_examples)[:count])

    in_memory = at_most

    def fingerprint(self):
        digest = hashlib.sha256(
            repr((self.name, self.split, self.class_names, self.example_names)).encode()
        )
        digest.update(self.labels.tobytes())
        if self.by_path:  # the files may change
            digest.update(
                repr(
                    [(status.st_size, status.st_mtime_ns) for status in map(os.stat, self.records)]
                ).encode()
            )
        else:
            for record in self.records:
                digest.update(record)
        return digest.hexdigest()

    def names_of(self, index):
        return list(map(as_text, self.example_ids()[0][index]))

    def pick(self, index):
        return self.take(index).ordered()

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
            index = (
                tf.random.experimental.index_shuffle(position % n, order, n - 1)
                if n > 1
                else position % n
            )
            return epoch, index, records[index], labels[index]

        steps = tf.data.Dataset.range(start // batch_size, tf.int64.max // batch_size)
        return steps.flat_map(
            lambda s: tf.data.Dataset.range(s * batch_size + first, s * batch_size + first + local)
        ).map(element)

    def ordered(self):
        """Elements (record, label), each example once, always in the same order."""
        index = tf.data.Dataset.range(self.num_examples)
        records, labels = self._tensor(), tf.constant(self.labels, tf.int64)
        return index.map(lambda i: (records[i], labels[i]))

    def _tensor(self):
        with tf.device("cpu"):  # names of files may be any bytes
            return tf.constant(
                [os.fsencode(path) for path in self.records] if self.by_path else self.records
            )


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
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(list(map(str, ids))), tf.ones(len(ids), tf.int64)
            ),
            0,
        )

        def read(context):
            return self.read(context).map(
                lambda key, record, label: (
                    key,
                    record,
                    tf.where(table.lookup(key) == 1, label, tf.cast(UNLABELED, label.dtype)),
                )
            )

        return dataclasses.replace(self, read=read, num_labeled=len(ids))

    def without_labels(self):
        def read(context):
            return self.read(context).map(
                lambda key, record, label: (key, record, tf.constant(UNLABELED, tf.int64))
            )

        return dataclasses.replace(self, read=read, num_labeled=0)

    def labeled(self, has_label=True):
        count = self.num_labeled if has_label else self.num_examples - self.num_labeled
        if count == self.num_examples:
            return self

        def read(context):
            return self.read(context).filter(
                lambda key, record, label: (label != UNLABELED) == has_label
            )

        return dataclasses.replace(
            self, read=read, num_examples=count, num_labeled=count if has_label else 0
        )

    def in_memory(self, count, seed=None):
        """`at_most`, read as an `Indexed` with the same ids, so that a label subset stays valid."""
        rows = list(self.at_most(count, seed).read(None).as_numpy_iterator())
        return Indexed(
            self.name,
            self.split,
            self.class_names,
            self.open,
            np.array([record for _, record, _ in rows], object),
            np.array([label for _, _, label in rows], np.int64),
            tuple(key.decode() for key, _, _ in rows),
        )

    def at_most(self, count, seed=None):
        """The source cut to its first `count` examples; its files are in random order already, so `seed` is not used."""
        if self.num_examples <= count:
            return self
        return dataclasses.replace(
            self,
            read=lambda context: self.read(context).take(count),
            num_examples=count,
            num_labeled=min(self.num_labeled, count),
        )

    def shuffled(self, seed, start, batch_size, context):
        """As `Indexed.shuffled`, shuffled over a buffer of SHUFFLE_BUFFER examples."""
        position = start // context.num_input_pipelines
        share = max(self.num_examples // context.num_input_pipelines, 1)
        files = self.read(context)

        def one_epoch(epoch):
            tf.random.set_seed(
                1
            )  # of this function's graph: `shuffle` mixes it in, and fails where the process has set 0
            shuffled = files.shuffle(
                SHUFFLE_BUFFER, seed=epoch * 1_000_003 + seed, reshuffle_each_iteration=False
            )
            skipped = shuffled.skip(
                tf.where(epoch == position // share, tf.constant(position % share, tf.int64), 0)
            )
            return skipped.map(
                lambda key, record, label: (
                    epoch,
                    tf.strings.to_hash_bucket_fast(key, 2**31 - 1),
                    record,
                    label,
                )
            )

        return tf.data.Dataset.range(position // share, tf.int64.max).flat_map(one_epoch)

    def fingerprint(self):
        return f"{self.name}, {self.split}, {self.num_examples} examples, {self.num_labeled} labels of {self.class_names}"

    def pick(self, index):
        index = tf.constant(index, tf.int64)
        rows = (
            self.ordered()
            .enumerate()
            .filter(lambda position, row: tf.reduce_any(position == index))
        )
        return rows.map(lambda position, row: row).take(len(index))

    def ordered(self):
        return self.read(None).map(lambda key, record, label: (record, label))
