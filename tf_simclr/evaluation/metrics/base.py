"""What an evaluation is given, what it yields, and how it says that it is not possible."""

import dataclasses
from collections.abc import Callable

import numpy as np

from tf_simclr.data.source import UNLABELED

MAX_EXAMPLES = 10_000  # of what grows with the square of their number
BLOCK = 10_000  # examples that `by_blocks` hands over at a time


class NotPossible(Exception):
    """An evaluation is not possible for these examples; the message says why."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """A number that an evaluation has measured; it is in tables, TensorBoard and results.json.

    Attributes:
        name: as in `report.metric_names`.
        value: anything that `float` takes.
    """

    name: str
    value: float

    def __post_init__(self):
        object.__setattr__(self, "value", float(self.value))


@dataclasses.dataclass(frozen=True)
class Detail:
    """What else an evaluation has to say: in results.json, for the report.

    Attributes:
        name: key in results.json.
        value: made of lists, dicts, numbers and texts.
    """

    name: str
    value: object


@dataclasses.dataclass(frozen=True)
class Examples:
    """What one network makes of some examples.

    Attributes:
        features: float32 [N, C].
        labels: int64 [N], -1 where unknown.
        views: float32 [M, 2, C], features of two augmented views of each of some of the examples,
            or None.
    """

    features: np.ndarray
    labels: np.ndarray
    views: np.ndarray | None = None

    def __len__(self):
        return len(self.labels)

    def take(self, index: np.ndarray) -> "Examples":
        """Only the examples `index` (int64 [n] or bool [N]), without views."""
        return Examples(self.features[index], self.labels[index])

    def labeled(self) -> "Examples":
        """Only the examples with a label; all of them as they are where each has one."""
        is_labeled = self.labels != UNLABELED
        return self if is_labeled.all() else self.take(is_labeled)

    def drawn(self, count: int, seed: int = 0) -> "Examples":
        """A seeded draw of at most `count` examples, in their order."""
        return self.take(draw(len(self), count, seed)) if len(self) > count else self


def draw(total: int, count: int, seed: int = 0) -> np.ndarray:
    """A seeded draw of positions, in their order.

    Returns:
        int64 [min(total, count)].
    """
    return np.sort(np.random.default_rng(seed).permutation(total)[:count])


def by_blocks(function: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    """What a function makes of each example; what it holds besides is that of a block only.

    Args:
        function: [n, ...] -> [n, ...], to which the examples are independent of one another.
        values: [N, ...].

    Returns:
        [N, ...].
    """
    first = function(values[:BLOCK])
    if len(values) <= BLOCK:
        return first
    results = np.empty([len(values), *first.shape[1:]], first.dtype)
    results[:BLOCK] = first
    for start in range(BLOCK, len(values), BLOCK):
        results[start : start + BLOCK] = function(values[start : start + BLOCK])
    return results


def normalized(features: np.ndarray) -> np.ndarray:
    """Features [N, ..., C] at length 1: a product of two is the cosine; zeros stay zeros."""
    return by_blocks(_normalized, features)


def _normalized(features):
    tiny = np.finfo(np.float32).tiny
    largest = np.abs(features).max(-1, keepdims=True)
    features = features / np.maximum(largest, tiny)  # the squares of large numbers are not finite
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.maximum(length, tiny)


def balanced_accuracy(correct: np.ndarray, labels: np.ndarray) -> float:
    """The mean recall over the classes that occur.

    Args:
        correct: bool [N].
        labels: int64 [N], each at least 0.
    """
    counts = np.bincount(labels)
    num_correct = np.bincount(labels, correct)
    occurs = counts > 0
    return float(np.mean(num_correct[occurs] / counts[occurs]))
