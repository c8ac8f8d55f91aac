"""Outliers: a literal computation, a planted one, and sets that have none."""

import numpy as np
from scipy import ndimage
from sklearn.preprocessing import normalize

from tf_simclr.curation import neighbors, outliers
from tf_simclr.evaluation.metrics.base import draw


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


def test_stripes_among_blots(rng):
    """Another kind of picture, by its details alone."""
    noise = rng.normal(size=(60, 32, 32))
    blots = ndimage.gaussian_filter(noise, (0, 2, 2))
    thumbnails = np.uint8(np.clip(128 + 300 * blots, 0, 255))
    thumbnails[9] = 128 + 100 * np.sin(np.arange(32) * 2)
    scores = outliers.spectrum_scores(thumbnails)
    assert scores.argmax() == 9 and scores[9] > 2 * outliers.THRESHOLD
    assert not outliers.spectrum_scores(thumbnails[:5]).any()
    assert not outliers.spectrum_scores(thumbnails[:0]).any()


def test_stripes_among_a_draw_of_blots(rng, monkeypatch):
    """Of more images than are compared with; none is its own neighbor."""
    monkeypatch.setattr(outliers, "MAX_REFERENCE", 30)
    noise = rng.normal(size=(60, 32, 32))
    blots = ndimage.gaussian_filter(noise, (0, 2, 2))
    thumbnails = np.uint8(np.clip(128 + 300 * blots, 0, 255))
    drawn = draw(60, 30)
    unlike = [drawn[0], np.setdiff1d(np.arange(60), drawn)[0]]
    thumbnails[unlike[0]] = 128 + 100 * np.sin(np.arange(32) * 2)
    thumbnails[unlike[1]] = 128 + 100 * np.sin(np.arange(32) * 3)
    scores = outliers.spectrum_scores(thumbnails)
    assert sorted(np.argsort(scores)[-2:]) == sorted(unlike)
    points = np.stack([outliers.robust_scores(band) for band in outliers.spectrum(thumbnails).T], 1)
    means = []
    for number, point in enumerate(points):
        distances = np.linalg.norm(points[drawn[drawn != number]] - point, axis=1)
        means.append(np.log(np.mean(np.sort(distances)[:10])))
    np.testing.assert_allclose(scores, outliers.robust_scores(means), rtol=1e-6)


def slow_spectrum(thumbnail):
    """The power of each frequency by its definition, collected in bands and directions."""
    window = np.hanning(32)[:, None] * np.hanning(32)
    values = (thumbnail - thumbnail.mean()) * window
    bands = {}
    for y in range(-16, 16):
        for x in range(-16, 16):
            grid = np.arange(32)
            wave = np.exp(-2j * np.pi * (y * grid[:, None] + x * grid) / 32)
            power = abs((values * wave).sum()) ** 2
            radius = np.hypot(y, x)
            for number, low in enumerate(outliers.BANDS[:-1]):
                if low <= radius < outliers.BANDS[number + 1]:
                    bands.setdefault(number, []).append(power)
            if 2 <= radius < 16:
                number = 6 + round(np.degrees(np.arctan2(y, x)) / 45) % 4
                bands.setdefault(number, []).append(power)
    return [np.log(np.mean(bands[number]) + outliers.LEAST_POWER) for number in range(10)]


def test_spectrum_is_its_definition(rng):
    thumbnails = rng.integers(0, 256, (2, 32, 32), np.uint8)
    expected = [slow_spectrum(thumbnail) for thumbnail in thumbnails]
    # Halves of a degree between two directions may be rounded either way.
    np.testing.assert_allclose(outliers.spectrum(thumbnails), expected, rtol=5e-3)
