"""A source whose files are too large for memory, read through a shuffle buffer."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.source import UNLABELED, Source, as_text

SHUFFLE_BUFFER = 8192  # examples a stream is shuffled over; encoded, about 1 GB of ImageNet
SEED_STRIDE = 1_000_003  # between the seeds of two epochs
MAX_ID = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Streamed(Source):
    """A source that is read from its files in order.

    A resumed run continues at the same position of the same order (one pipeline; with several
    workers each has files of its own), after reading past what it had seen of the epoch.

    Attributes:
        read: a function of `tf.distribute.InputContext` or None, and of the seed of a random order
            of the files (an int64 scalar; without it they are in their own order) -> data set of
            (id string, record, label).
        num_examples: how many examples.
        num_labeled: how many of them have a label.
    """

    read: Callable
    num_examples: int
    num_labeled: int

    def example_ids(self):
        logging.info("%s: reading all labels of split %s to choose some", self.name, self.split)
        ids, labels = [], []
        without_records = self.read(None).map(lambda key, record, label: (key, label))
        for key, label in without_records.as_numpy_iterator():
            ids.append(key.decode())
            labels.append(label)
        return np.array(ids), np.array(labels)

    def with_labels_of(self, ids):
        keys = tf.constant(list(map(str, ids)))
        ones = tf.ones(len(ids), tf.int64)
        initializer = tf.lookup.KeyValueTensorInitializer(keys, ones)
        table = tf.lookup.StaticHashTable(initializer, 0)

        def keep_label(key, record, label):
            is_kept = table.lookup(key) == 1
            return key, record, tf.where(is_kept, label, tf.cast(UNLABELED, label.dtype))

        return self._mapped(keep_label, num_labeled=len(ids))

    def without_labels(self):
        def drop_label(key, record, label):
            return key, record, tf.constant(UNLABELED, tf.int64)

        return self._mapped(drop_label, num_labeled=0)

    def _mapped(self, function, num_labeled):
        return dataclasses.replace(
            self, read=lambda *order: self.read(*order).map(function), num_labeled=num_labeled
        )

    def labeled(self, has_label=True):
        count = self.num_labeled if has_label else self.num_examples - self.num_labeled
        if count == self.num_examples:
            return self

        def is_chosen(key, record, label):
            return (label != UNLABELED) == has_label

        return dataclasses.replace(
            self,
            read=lambda *order: self.read(*order).filter(is_chosen),
            num_examples=count,
            num_labeled=count if has_label else 0,
        )

    def in_memory(self, count, seed=None):
        """As `at_most`, read as an `Indexed` with the same ids: a label subset stays valid."""
        names, records, labels = [], [], []
        for key, record, label in self.at_most(count, seed).read(None).as_numpy_iterator():
            names.append(key.decode())
            records.append(record)
            labels.append(label)
        return Indexed(
            self.name,
            self.split,
            self.class_names,
            self.open,
            np.array(records, object),
            np.array(labels, np.int64),
            tuple(names),
        )

    def at_most(self, count, seed=None):
        """The source cut to its first `count` examples.

        Its files are in random order already, so `seed` is not used. They keep this order in every
        epoch: in another one the first examples would be others.
        """
        if self.num_examples <= count:
            return self
        return dataclasses.replace(
            self,
            read=lambda context, seed=None: self.read(context).take(count),
            num_examples=count,
            num_labeled=min(self.num_labeled, count),
        )

    def shuffled(self, seed, start, batch_size, context):
        """As `Source.shuffled`: files in a random order, and a buffer of SHUFFLE_BUFFER examples.

        The order of the files is a new one each epoch: an image would else meet those that are near
        it in its file, which are a large part of a large batch, again and again.
        """
        position = start // context.num_input_pipelines
        local_examples = max(self.num_examples // context.num_input_pipelines, 1)
        first_epoch = position // local_examples
        offset = tf.constant(position % local_examples, tf.int64)

        def one_epoch(epoch):
            # Of this function's graph: `shuffle` mixes it in, and fails where the process has 0.
            tf.random.set_seed(1)
            epoch_seed = epoch * SEED_STRIDE + seed
            shuffled = self.read(context, epoch_seed).shuffle(
                SHUFFLE_BUFFER, seed=epoch_seed, reshuffle_each_iteration=False
            )

            def element(key, record, label):
                return epoch, tf.strings.to_hash_bucket_fast(key, MAX_ID), record, label

            num_seen = tf.where(epoch == first_epoch, offset, 0)
            return shuffled.skip(num_seen).map(element)

        return tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(one_epoch)

    def fingerprint(self):
        return (
            f"{self.name}, {self.split}, {self.num_examples} examples, {self.num_labeled} labels "
            f"of {self.class_names}"
        )

    def names(self):
        for key in self.read(None).map(lambda key, *_: key).as_numpy_iterator():
            yield as_text(key.decode())

    def after(self, count):
        if not count:
            return self
        return dataclasses.replace(
            self,
            read=lambda context, seed=None: self.read(context).skip(count),
            num_examples=max(self.num_examples - count, 0),
        )

    def pick(self, index):
        index = tf.constant(index, tf.int64)

        def is_picked(position, element):
            return tf.reduce_any(position == index)

        elements = self.ordered().enumerate().filter(is_picked)
        return elements.map(lambda position, element: element).take(len(index))

    def ordered(self):
        return self.read(None).map(lambda key, record, label: (record, label))
