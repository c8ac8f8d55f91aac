"""What a data set is to the rest of the program: `Source`.

Two kinds exist. `Indexed` (`indexed_source`) knows example number i at once, so its order is a
pure function of the position and training resumes exactly. `Streamed` (`streamed_source`) reads
files too large for memory through a shuffle buffer.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

UNLABELED = -1  # the label of an example whose label is unknown or must not be used
MAX_NAMED = 10  # classes that are named in a line
MEMORY_LIMIT = 2**30  # bytes of encoded images that are kept in memory by default


def as_text(name) -> str:
    """`name`, which may be that of a file and so any bytes, as it can be written."""
    return str(name).encode("utf-8", "backslashreplace").decode()


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 class", "2 classes", "3 images"."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("y"):
        return f"{number} {noun[:-1]}ies"
    return f"{number} {noun}{'es' if noun.endswith('s') else 's'}"


def first_names(names: list[str]) -> str:
    """The first ten of some names with commas between, and dots for the others."""
    more = ", ..." if len(names) > MAX_NAMED else ""
    return f"{', '.join(names[:MAX_NAMED])}{more}"


def count_labels(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """How many labels there are of each class.

    Args:
        labels: int64 [N], -1 where unknown.
        num_classes: C.

    Returns:
        int64 [C].
    """
    return np.bincount(labels[labels != UNLABELED], minlength=num_classes)


@dataclasses.dataclass(frozen=True)
class FolderFacts:
    """How folders of images were understood.

    Attributes:
        lines: what the user is told, a line each.
        class_counts: {class: images that have it}, over all splits.
        moved: {digest of a content: whether it is held out} of the images that are held out, or are
            not, for the sake of their class; None: the folders have splits of their own.
        digests: {name: digest of the file's content} of images that were converted, whose records
            are others than their files.
    """

    lines: tuple[str, ...]
    class_counts: dict[str, int]
    moved: dict[str, bool] | None = None
    digests: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Source:
    """One split of a data set.

    Attributes:
        name: of the data set.
        split: its name.
        class_names: empty where there are no labels at all.
        open: a function of a record -> `image.EncodedImage` or `DecodedImage`.
        num_examples: how many examples.
        num_labeled: how many of them have a label.
        by_path: whether the records are the paths of files, which are read when they are needed.
        facts: how folders were understood; None: it is of another kind.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    open: Callable
    by_path = False
    facts: FolderFacts | None = dataclasses.field(default=None, kw_only=True)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def decode(self, record) -> tf.Tensor:
        """The whole image of a record, uint8 [H, W, 3]."""
        return self.open(record).whole()

    def with_value_range(self, value_range: tuple[float, float] | None) -> "Source":
        """The same examples, with images of 16 bits scaled by a range, see `decoding.decode`."""
        return dataclasses.replace(self, open=functools.partial(self.open, value_range=value_range))

    def names_of(self, index: np.ndarray) -> list[str]:
        """What the user knows the examples `index` (int64 [n]) by."""
        return list(map(str, index))

    def fingerprint(self) -> str:
        """A text that changes with the examples: their number, order, labels or images."""
        raise NotImplementedError

    def example_ids(self) -> tuple[np.ndarray, np.ndarray]:
        """([N] the ids by which a label subset is written down, [N] labels)."""
        raise NotImplementedError

    def with_labels_of(self, ids: list) -> "Source":
        """The same examples; those outside `ids` are unlabeled."""
        raise NotImplementedError

    def without_labels(self) -> "Source":
        """The same examples, all unlabeled."""
        raise NotImplementedError

    def labeled(self, has_label: bool = True) -> "Source":
        """Only the examples with a label, or only those without."""
        raise NotImplementedError

    def at_most(self, count: int, seed: int | None = None) -> "Source":
        """The source cut to `count` examples: the first ones, or a seeded draw."""
        raise NotImplementedError

    def in_memory(self, count: int, seed: int | None = None) -> "Source":
        """As `at_most`, as an `Indexed` source."""
        raise NotImplementedError

    def draw(self, count: int, seed: int) -> np.ndarray:
        """Positions, ascending, of `count` random examples, or of all if there are no more."""
        raise NotImplementedError

    def names(self) -> Iterator[str]:
        """What the user knows the examples by, one after the other."""
        raise NotImplementedError

    def after(self, count: int) -> "Source":
        """The source without its first `count` examples."""
        raise NotImplementedError

    def pick(self, index: np.ndarray) -> tf.data.Dataset:
        """The (record, label) of the examples `index` (int64 [n], ascending), in their order."""
        raise NotImplementedError

    def ordered(self) -> tf.data.Dataset:
        """Elements (record, label), each example once, always in the same order."""
        raise NotImplementedError

    def shuffled(self, seed: int, start: int, batch_size: int, context) -> tf.data.Dataset:
        """Endless elements (epoch, id, record, label), a new order each epoch.

        Args:
            seed: of the orders.
            start: global position to start from.
            batch_size: global; of every batch this worker gets its own slice.
            context: `tf.distribute.InputContext` of this worker.
        """
        raise NotImplementedError


def fits_in_memory(num_bytes: float) -> bool:
    """Whether encoded images of so many bytes are kept in memory without being asked to."""
    return num_bytes <= MEMORY_LIMIT
