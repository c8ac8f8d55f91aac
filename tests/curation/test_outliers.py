"""Outliers: a literal computation, a planted one, and sets that have none."""

import numpy as np
from sklearn.preprocessing import normalize

from tf_simclr.curation import neighbors, outliers


def slow_scores(unit, count):
    """The robust score of the logarithm of the mean distance, image by image."""
    values = []
    for query, features in enumerate(unit):
        others = np.delete(unit, query, 0)
        distances = sorted(np.linalg.norm(others - features, axis=1))
        values.append(np.log(np.mean(distances[:count])))
    median = np.median(values)
    deviation = np.median([abs(value - median) for value in values])
    return [(value - median) / (1.4826 * deviation) for value in values]


def test_the_image_that_is_unlike_the_others(rng):
    features = 10 * np.eye(12)[0] + rng.normal(size=(60, 12))
    features[7] = -features[7]
    unit = normalize(features)
    similarity, _ = neighbors.nearest_others(unit, 5)
    scores = outliers.scores(similarity)
    np.testing.assert_allclose(scores, slow_scores(unit, 5), rtol=1e-3, atol=1e-3)
    assert np.flatnonzero(scores > outliers.THRESHOLD).tolist() == [7]


def test_sets_without_outliers():
    assert not outliers.scores(np.ones((20, 5))).any()  # all the same
    assert outliers.scores(np.ones((1, 0))).tolist() == [0]
    assert outliers.scores(np.ones((0, 0))).tolist() == []
    assert np.isfinite(outliers.scores(np.array([[0.9, -np.inf], [0.8, 0.7], [0.5, 0.6]]))).all()
