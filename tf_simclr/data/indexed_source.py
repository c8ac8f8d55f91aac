"""Examples with random access."""

import dataclasses
import hashlib
import os

import numpy as np
import tensorflow as tf

from tf_simclr.data.source import UNLABELED, Source, as_text
from tf_simclr.errors import UserError


@dataclasses.dataclass(frozen=True)
class Indexed(Source):
    """A source with random access.

    Attributes:
        records: [N], images, encoded images or paths.
        labels: int64 [N], -1 where unknown.
        example_names: for the user, e.g. paths; empty: the number is the name.
    """

    records: np.ndarray
    labels: np.ndarray
    example_names: tuple[str, ...] = ()

    @property
    def num_examples(self) -> int:
        """How many examples."""
        return len(self.labels)

    @property
    def num_labeled(self) -> int:
        """How many of them have a label."""
        return int(np.sum(self.labels != UNLABELED))

    @property
    def by_path(self) -> bool:
        """Whether the records are the paths of files."""
        return self.is_encoded and isinstance(next(iter(self.records), None), str)

    @property
    def is_encoded(self) -> bool:
        """Whether the images are files or their contents, not pixels."""
        return self.records.dtype.kind in "OU"

    def contents(self, index: int, size: int = -1) -> bytes:
        """The first `size` bytes of an encoded image, or all; none of a file that is gone."""
        record = self.records[index]
        if not self.by_path:
            return record if size < 0 else record[:size]
        try:
            with open(os.fsencode(record), "rb") as file:
                return file.read(size)
        except OSError:
            return b""

    def example_ids(self):
        return np.array(self.example_names or range(self.num_examples)), self.labels

    def with_labels_of(self, ids):
        known_ids, _ = self.example_ids()
        is_kept = np.isin(known_ids, ids)
        if is_kept.sum() != len(ids):
            missing = np.setdiff1d(ids, known_ids)
            raise UserError(
                f"{self.name}, split {self.split}: {len(missing)} of the {len(ids)} examples whose "
                f"labels this run uses are not there any more, e.g. {missing[0]}; bring them back, "
                "or start a new --model_dir"
            )
        return dataclasses.replace(self, labels=np.where(is_kept, self.labels, UNLABELED))

    def without_labels(self):
        return dataclasses.replace(self, labels=np.full_like(self.labels, UNLABELED))

    def labeled(self, has_label=True):
        return self.take(np.flatnonzero((self.labels != UNLABELED) == has_label))

    def take(self, index: np.ndarray) -> "Indexed":
        """Only the examples `index` (int64 [n])."""
        names = ()
        if self.example_names:
            names = tuple(self.example_names[i] for i in index)
        return dataclasses.replace(
            self, records=self.records[index], labels=self.labels[index], example_names=names
        )

    def at_most(self, count, seed=None):
        if self.num_examples <= count:
            return self
        return self.take(np.arange(count) if seed is None else self.draw(count, seed))

    in_memory = at_most

    def draw(self, count, seed):
        return np.sort(np.random.default_rng(seed).permutation(self.num_examples)[:count])

    def fingerprint(self):
        description = (self.name, self.split, self.class_names, self.example_names)
        digest = hashlib.sha256(repr(description).encode())
        digest.update(self.labels.tobytes())
        if self.by_path:  # the files may change
            statuses = [os.stat(path) for path in self.records]
            times = [(status.st_size, status.st_mtime_ns) for status in statuses]
            digest.update(repr(times).encode())
        else:
            for record in self.records:
                digest.update(record)
        return digest.hexdigest()

    def names_of(self, index):
        return [as_text(self.example_names[i] if self.example_names else i) for i in index]

    def names(self):
        for index in range(self.num_examples):
            yield as_text(self.example_names[index]) if self.example_names else str(index)

    def after(self, count):
        return self.take(np.arange(count, self.num_examples)) if count else self

    def pick(self, index):
        return self.take(index).ordered()

    def shuffled(self, seed, start, batch_size, context):
        """As `Source.shuffled`.

        Which examples a step sees does not depend on how many workers there are.
        """
        n = self.num_examples
        records = self._record_tensor()
        labels = tf.constant(self.labels, tf.int64)
        local_size = batch_size // context.num_input_pipelines
        first = context.input_pipeline_id * local_size

        def positions(step):
            begin = step * batch_size + first
            return tf.data.Dataset.range(begin, begin + local_size)

        def element(position):
            epoch = position // n
            index = position % n
            if n > 1:
                order = tf.cast(tf.stack([tf.constant(seed, tf.int64), epoch]), tf.int32)
                index = tf.random.experimental.index_shuffle(index, order, n - 1)
            return epoch, index, records[index], labels[index]

        steps = tf.data.Dataset.range(start // batch_size, tf.int64.max // batch_size)
        return steps.flat_map(positions).map(element)

    def ordered(self):
        records = self._record_tensor()
        labels = tf.constant(self.labels, tf.int64)
        index = tf.data.Dataset.range(self.num_examples)
        return index.map(lambda i: (records[i], labels[i]))

    def _record_tensor(self):
        records = self.records
        if self.by_path:
            records = [os.fsencode(path) for path in records]  # names may be any bytes
        with tf.device("cpu"):
            return tf.constant(records)
