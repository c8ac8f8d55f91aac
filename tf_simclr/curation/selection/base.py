"""What a strategy chooses from, and what it has chosen."""

import dataclasses

import numpy as np


class NotSelectable(Exception):
    """Nothing can be chosen; the message says why."""


@dataclasses.dataclass(frozen=True)
class Pool:
    """Images of which some are to be labeled.

    Attributes:
        features: float32 [N, C], of length 1.
        is_labeled: bool [N].
        is_excluded: bool [N], what must not be chosen though it has no label, such as copies.
        probabilities: float32 [N, K] of a classifier; None: there is none.
    """

    features: np.ndarray
    is_labeled: np.ndarray
    is_excluded: np.ndarray
    probabilities: np.ndarray | None = None

    def __len__(self):
        return len(self.features)

    @property
    def is_candidate(self) -> np.ndarray:
        """bool [N], what may be chosen."""
        return ~(self.is_labeled | self.is_excluded)

    @property
    def num_labeled(self) -> int:
        """How many images have a label."""
        return int(self.is_labeled.sum())

    def excluding(self, index: np.ndarray) -> "Pool":
        """The same images, of which those at `index` (int64 [n]) must not be chosen."""
        is_excluded = self.is_excluded.copy()
        is_excluded[index] = True
        return dataclasses.replace(self, is_excluded=is_excluded)

    def check(self):
        """Checks the arrays.

        Raises:
            NotSelectable: features or probabilities that are not finite.
        """
        arrays = {"features": self.features, "probabilities": self.probabilities}
        for name, values in arrays.items():
            if values is None:
                continue
            sums = values.sum(1, dtype=np.float64)
            num_bad = int((~np.isfinite(sums)).sum())
            if num_bad:
                raise NotSelectable(
                    f"{num_bad} of {len(self)} images have {name} that are not finite: these "
                    "weights are broken; give others as --checkpoint"
                )


@dataclasses.dataclass(frozen=True)
class Selection:
    """Images to label, the first one first.

    Attributes:
        index: int64 [n], their positions.
        clusters: int64 [n], number of each one's cluster; -1: there are no clusters.
        reasons: [n] texts, why each was chosen.
    """

    index: np.ndarray
    clusters: np.ndarray
    reasons: tuple[str, ...]

    def first(self, count: int) -> "Selection":
        """The first images only."""
        return Selection(self.index[:count], self.clusters[:count], self.reasons[:count])

    @classmethod
    def of_all_candidates(cls, pool: Pool) -> "Selection":
        """All that may be chosen, in their order."""
        index = np.flatnonzero(pool.is_candidate)
        return cls(index, np.full(len(index), -1), ("all that is left",) * len(index))
