"""Doubtful labels: planted ones, what cleanlab says of the same numbers, classes that overlap."""

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


def slow_confident_learning(probabilities, labels):
    """The definition, image by image."""
    num_classes = probabilities.shape[1]
    thresholds = []
    for label in range(num_classes):
        thresholds.append(
            np.mean([row[label] for row, y in zip(probabilities, labels) if y == label])
        )
    doubtful = []
    for position, (row, label) in enumerate(zip(probabilities, labels)):
        confident = [j for j in range(num_classes) if row[j] >= thresholds[j] - 1e-6]
        guess = confident[0] if len(confident) == 1 else int(np.argmax(row))
        if confident and guess != label and np.argmax(row) != label:
            doubtful.append((row[label], position, guess))
    return sorted(doubtful)


@pytest.mark.parametrize("seed", range(5))
def test_confident_learning_is_its_definition(seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(4, 0.4), size=200)
    labels = np.concatenate([np.arange(4), rng.integers(4, size=196)])
    expected = slow_confident_learning(probabilities, labels)
    doubtful = doubtful_labels.confident_learning(probabilities, labels)
    columns = doubtful.confidence, doubtful.positions, doubtful.suggested
    assert list(zip(*map(np.ndarray.tolist, columns))) == expected
    assert len(expected) > 20


CLEANLAB_FINDS = [
    35,
    39,
    49,
    55,
    5,
    16,
    9,
    27,
    19,
    12,
    0,
    51,
    59,
    45,
    11,
    50,
    34,
    29,
    37,
    47,
    28,
    23,
    30,
    54,
    44,
    33,
    58,
    17,
    2,
    26,
    40,
    43,
    24,
    3,
    46,
    8,
    56,
    52,
    32,
    25,
    21,
    18,
    4,
    13,
    6,
    57,
    31,
    22,
    38,
    42,
    1,
]  # positions


def test_confident_learning_finds_what_cleanlab_finds():
    """cleanlab 2.9.0, find_label_issues(filter_by="confident_learning"), by self-confidence."""
    rng = np.random.default_rng(11)
    probabilities = rng.dirichlet(np.full(4, 0.4), size=60)
    labels = np.concatenate([np.arange(4), rng.integers(4, size=56)])
    doubtful = doubtful_labels.confident_learning(probabilities, labels)
    assert doubtful.positions.tolist() == CLEANLAB_FINDS


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
