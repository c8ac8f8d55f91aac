"""Doubtful labels: planted ones, how probable an error is, classes that overlap."""

import numpy as np
import pytest

from tf_simclr.curation import doubtful_labels, neighbors


def two_clusters(rng, count=120):
    labels = np.arange(count) % 2
    features = 12 * np.eye(4)[labels] + rng.normal(size=(count, 4))
    return features, labels


def test_planted_wrong_labels(rng):
    features, labels = two_clusters(rng)
    right = labels[[3, 10]]
    labels[[3, 10]] = 1 - right
    doubtful = doubtful_labels.find(features, labels)
    assert sorted(doubtful.positions) == [3, 10]
    suggested = dict(zip(doubtful.positions.tolist(), doubtful.suggested.tolist()))
    assert [suggested[3], suggested[10]] == right.tolist()
    assert np.all(doubtful.confidence <= 0.1) and np.all(np.diff(doubtful.confidence) >= 0)


def test_images_without_label_and_rare_classes(rng):
    """They are left out; the other classes keep their numbers."""
    features, labels = two_clusters(rng)
    labels = np.where(labels == 1, 7, 2)
    labels[[0, 1]] = -1
    labels[[2, 4]] = 5
    labels[20] = 7  # is of class 2
    doubtful = doubtful_labels.find(features, labels)
    assert doubtful.positions.tolist() == [20] and doubtful.suggested.tolist() == [2]


@pytest.mark.parametrize("labels", [[], [-1] * 30, [3] * 30, [0] * 30 + [1] * 4])
def test_nothing_to_compare(labels):
    labels = np.array(labels, np.int64)
    doubtful = doubtful_labels.find(np.ones((len(labels), 3)), labels)
    assert len(doubtful.positions) == 0


def blurred_clusters(rng, num_images=3000, num_classes=5):
    """Classes that can't be told apart by all of their images."""
    labels = rng.integers(num_classes, size=num_images)
    features = 3 * np.eye(num_classes)[labels] + rng.normal(size=(num_images, num_classes))
    return features, labels


def test_half_of_what_is_listed_is_wrong(rng):
    features, labels = blurred_clusters(rng)
    wrong = rng.choice(len(labels), 120, replace=False)
    labels[wrong] = (labels[wrong] + rng.integers(1, 5, len(wrong))) % 5
    doubtful = doubtful_labels.find(features, labels)
    is_wrong = np.isin(doubtful.positions, wrong)
    assert 0.4 < is_wrong.mean() < 0.75
    assert is_wrong.sum() > 0.6 * len(wrong)
    assert np.all(np.diff(doubtful.confidence) >= 0)


def test_of_right_labels_few_are_listed(rng):
    """However many images are hard to tell apart."""
    doubtful = doubtful_labels.find(*blurred_clusters(rng))
    assert len(doubtful.positions) < 0.005 * 3000


def slow_probability_of_error(probabilities, labels):
    """Pair of image and class by pair; isotonic regression by pooling adjacent violators."""
    num_classes = probabilities.shape[1]
    pairs = [
        (value, float(labels[image] == label))
        for image, row in enumerate(probabilities)
        for label, value in enumerate(row)
    ]
    pools = []  # [values, mean]
    for value, is_label in sorted(pairs):
        pools.append(([value], is_label))
        while len(pools) > 1 and pools[-2][1] >= pools[-1][1]:
            (after, high), (before, low) = pools.pop(), pools.pop()
            total = len(before) * low + len(after) * high
            pools.append((before + after, total / (len(before) + len(after))))
    frequency = {value: mean for values, mean in pools for value in values}
    limit = np.quantile(probabilities, 0.2)
    mistakes = [is_label for value, is_label in pairs if value <= limit]
    share = (sum(mistakes) + 200 * 0.05 / (num_classes - 1)) / (len(mistakes) + 200)
    of_labels = [frequency[row[label]] for row, label in zip(probabilities, labels)]
    return [min(share / max(value, 1e-12), 1) for value in of_labels]


@pytest.mark.parametrize("seed", range(5))
def test_probability_of_error_is_its_definition(seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(4, 0.4), size=200)
    labels = np.array([rng.choice(4, p=row) for row in probabilities])
    labels[:20] = rng.integers(4, size=20)
    expected = slow_probability_of_error(probabilities, labels)
    actual = doubtful_labels.probability_of_error(probabilities, labels)
    np.testing.assert_allclose(actual, expected)
    assert len(set(expected)) > 5


def test_small_probabilities_of_half_the_bits_are_told_apart(rng):
    """The classifier gives float32; a regression in it takes all below 1e-6 for equal."""
    probabilities = rng.dirichlet(np.full(50, 0.05), size=500).astype(np.float32)
    labels = rng.integers(50, size=500)
    expected = doubtful_labels.probability_of_error(probabilities.astype(np.float64), labels)
    actual = doubtful_labels.probability_of_error(probabilities, labels)
    np.testing.assert_array_equal(actual, expected)


def test_a_draw_says_how_probable_errors_are(rng, monkeypatch):
    """With more images than are counted nearly the same, also beyond the probabilities drawn."""
    probabilities = rng.dirichlet(np.full(4, 0.4), size=6000)
    labels = np.array([rng.choice(4, p=row) for row in probabilities])
    labels[:300] = rng.integers(4, size=300)
    expected = doubtful_labels.probability_of_error(probabilities, labels)
    monkeypatch.setattr(doubtful_labels, "MAX_COUNTED", 2000)
    actual = doubtful_labels.probability_of_error(probabilities, labels)
    assert 0 < np.abs(actual - expected).mean() < 0.03
    assert np.all((actual >= 0) & (actual <= 1))


def test_overlaps_of_many_classes():
    """A table of all pairs of them would not fit into the memory."""
    labels = np.repeat([0, 10**6], 30)
    nearest = np.arange(60)[::-1, None]  # always of the other class
    ((first, second, overlap),) = doubtful_labels.overlaps(labels, nearest)
    assert (first, second) == (0, 10**6) and overlap > 1


def test_overlapping_classes(rng):
    """Classes 0 and 1 are the same, class 2 is not; class 3 has no image."""
    labels = np.array([0, 1, 2, 2, 4] * 60)
    centers = np.array([0, 0, 1, 3, 2])
    features = 8 * np.eye(4)[centers[labels]] + rng.normal(size=(300, 4))
    unit = neighbors.unit_features(features)
    _, nearest = neighbors.nearest_others(unit, 10)
    ((first, second, overlap),) = doubtful_labels.overlaps(labels, nearest)
    assert (first, second) == (0, 1) and overlap == pytest.approx(1, abs=0.1)
    assert doubtful_labels.overlaps(np.zeros(300, np.int64), nearest) == []
    assert doubtful_labels.overlaps(np.full(300, -1), nearest) == []
    assert doubtful_labels.overlaps(labels[:0], nearest[:0]) == []


def test_overlap_of_a_class_with_no_neighbor_of_its_own():
    """It is large, and nothing overflows."""
    labels = np.array([0, 1] * 4)
    nearest = np.where(labels == 0, 1, 0)[:, None]
    ((first, second, overlap),) = doubtful_labels.overlaps(labels, nearest)
    assert (first, second) == (0, 1) and 1 < overlap < np.inf
