"""Features for the search in a page: their size, their distances, their neighbors."""

import numpy as np
import pytest

from tf_simclr.evaluation import compact_features
from tf_simclr.evaluation.metrics.base import normalized


@pytest.mark.parametrize(("rank", "tolerance"), [(10, 0.03), (200, 0.2)])
def test_distances_are_kept(rng, rank, tolerance):
    """Of features in few directions to within the steps; of others by what is left out."""
    features = rng.normal(size=(300, rank)) @ rng.normal(size=(rank, 200))
    compact = compact_features.compact(features)
    assert compact.values.shape == (300, 64) and compact.values.dtype == np.int8
    unit = normalized(features)
    values = compact.values.astype(np.int64)
    for first, second in rng.integers(0, 300, (50, 2)):
        if first == second:
            continue
        squares = np.square(values[first] - values[second]).sum()
        squares += compact.rests[first] + compact.rests[second]
        expected = np.linalg.norm(unit[first] - unit[second])
        assert np.sqrt(squares) * compact.step == pytest.approx(expected, abs=tolerance)


def test_neighbors_are_kept(rng):
    features = rng.normal(size=(300, 10)) @ rng.normal(size=(10, 200))
    assert compact_features.agreement(features, compact_features.compact(features)) > 0.9


def test_agreement_tells_wrong_features(rng):
    features = rng.normal(size=(300, 20))
    other = compact_features.compact(rng.normal(size=(300, 20)))
    assert compact_features.agreement(features, other) < 0.2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_images(rng, count):
    features = rng.normal(size=(count, 20))
    compact = compact_features.compact(features)
    assert len(compact.values) == count
    assert compact_features.agreement(features, compact) == 1


def test_equal_images():
    compact = compact_features.compact(np.ones([4, 6]))
    assert not compact.values.any() and np.isfinite(compact.step)
