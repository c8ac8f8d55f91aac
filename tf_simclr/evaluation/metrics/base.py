"""What evaluations are given, and how one says that it can't be made."""

import dataclasses

import numpy as np

from tf_simclr.data.source import UNLABELED

MAX_EXAMPLES = 10_000  # examples of what grows with the square of their number


class NotPossible(Exception):
    """An evaluation can't be made of these examples; the message says why. The others go on."""


@dataclasses.dataclass(frozen=True)
class Examples:
    """One network's view of some examples.

    features: float32 [N, C]. labels: int64 [N], -1 where unknown. views: float32 [M, 2, C], features of two augmented views of
    each of some of the examples, or None.
    """

    features: np.ndarray
    labels: np.ndarray
    views: np.ndarray | None = None

    def __len__(self):
        return len(self.labels)

    def take(self, index):
        """Only the examples `index` (int64 [n] or bool [N])."""
        return Examples(self.features[index], self.labels[index])

    def labeled(self):
        """Only the examples with a label; all of them as they are where each has one."""
        known = self.labels != UNLABELED
        return self if known.all() else self.take(known)

    def drawn(self, count, seed=0):
        """A seeded draw of at most `count` examples, in their order."""
        return self.take(draw(len(self), count, seed)) if len(self) > count else self


def draw(total, count, seed=0):
    """int64 [min(total, count)]: a seeded draw of positions, in their order."""
    return np.sort(np.random.default_rng(seed).permutation(total)[:count])


def normalized(features):
    """`features` [..., C] at length 1, so that a product of two is the cosine; zeros stay zeros."""
    tiny = np.finfo(np.float32).tiny
    features = features / np.maximum(
        np.abs(features).max(-1, keepdims=True), tiny
    )  # the squares of large numbers are not finite
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), tiny)
