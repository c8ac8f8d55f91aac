"""A draw at random: what the other strategies are compared with."""

import numpy as np

from tf_simclr.curation.selection.base import Pool, Selection


def select(pool: Pool, count: int, seed: int) -> Selection:
    """Draws images at random; see `selection.select`."""
    candidates = np.flatnonzero(pool.is_candidate)
    index = np.random.default_rng(seed).permutation(candidates)[:count]
    return Selection(index, np.full(count, -1), ("drawn at random",) * count)
