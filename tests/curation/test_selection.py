"""Which images a strategy chooses: as its paper says, and as it should on clear clusters."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from tf_simclr.config.registry import SELECT_STRATEGIES
from tf_simclr.curation import selection
from tf_simclr.curation.selection import NotSelectable, Pool, typical, uncertain
from tf_simclr.evaluation.metrics.base import normalized

STRATEGIES = tuple(selection.STRATEGIES)


def make_pool(features, labeled=(), excluded=(), probabilities=None):
    masks = np.zeros([2, len(features)], bool)
    masks[0, list(labeled)] = True
    masks[1, list(excluded)] = True
    return Pool(normalized(features.astype(np.float32)), *masks, probabilities)


@pytest.fixture
def features(rng):
    return rng.normal(size=(60, 5))


@pytest.fixture
def probabilities(rng):
    return rng.dirichlet(np.ones(3), 60)


@pytest.fixture
def clusters(rng):
    """(features, number of the cluster) of 3 clusters with 40, 20 and 10 images."""
    numbers = np.repeat([0, 1, 2], [40, 20, 10])
    return np.eye(6)[numbers] + 0.05 * rng.normal(size=(70, 6)), numbers


def slow_typicality(features):
    """Hacohen et al. 2022, equation 1."""
    values = []
    for i, feature in enumerate(features):
        others = np.delete(features, i, 0)
        distances = sorted(np.sqrt(((others - feature) ** 2).sum(1)))
        nearest = distances[: min(20, len(others))]
        values.append(1 / np.mean(nearest))
    return np.array(values)


def slow_typical(pool, count, seed):
    """Hacohen et al. 2022, algorithm 1: its clusters, one after the other."""
    kmeans = KMeans(pool.num_labeled + count, n_init=1, random_state=seed)
    numbers = kmeans.fit_predict(pool.features)
    labels_of, members_of = {}, {}
    for number in set(numbers.tolist()):
        members = [i for i in range(len(pool)) if numbers[i] == number]
        members_of[number] = members
        labels_of[number] = sum(pool.is_labeled[i] for i in members)
    large = [number for number, members in members_of.items() if len(members) >= 5]
    order = sorted(large, key=lambda number: (labels_of[number], -len(members_of[number]), number))
    chosen = []
    turn = 0
    while len(chosen) < count:
        members = [i for i in members_of[order[turn % len(order)]] if not pool.is_labeled[i]]
        members = [i for i in members if i not in chosen]
        turn += 1
        if members:
            chosen.append(members[int(slow_typicality(pool.features[members]).argmax())])
    return chosen


def slow_coverage(pool, count):
    """Sener and Savarese 2018, algorithm 1."""
    centers = [i for i in range(len(pool)) if pool.is_labeled[i]]
    chosen = []
    for _ in range(count):
        best, farthest = None, -1
        for i in range(len(pool)):
            if i in centers or not pool.is_candidate[i]:
                continue
            distances = [np.linalg.norm(pool.features[i] - pool.features[j]) for j in centers]
            if min(distances) > farthest:
                best, farthest = i, min(distances)
        centers.append(best)
        chosen.append(best)
    return chosen


def slow_uncertain(pool, count, seed):
    """Zhdanov 2019, algorithm 1."""
    margins = []
    for row in pool.probabilities:
        second, first = sorted(row)[-2:]
        margins.append(first - second)
    candidates = [i for i in range(len(pool)) if pool.is_candidate[i]]
    candidates = sorted(candidates, key=lambda i: margins[i])[: 10 * count]
    weights = [1 - margins[i] for i in candidates]
    kmeans = KMeans(count, n_init=1, random_state=seed)
    kmeans.fit(pool.features[candidates], sample_weight=weights)
    chosen = set()
    for number, center in enumerate(kmeans.cluster_centers_):
        members = [i for i, label in zip(candidates, kmeans.labels_) if label == number]
        chosen.add(min(members, key=lambda i: np.linalg.norm(pool.features[i] - center)))
    return sorted(chosen, key=lambda i: margins[i])


def test_registry_names_the_strategies():
    assert STRATEGIES == SELECT_STRATEGIES


def test_typicality_as_in_the_paper(features):
    np.testing.assert_allclose(typical.typicality(features), slow_typicality(features), rtol=1e-5)


@pytest.mark.parametrize("labeled", [(), (3, 8, 21)])
def test_typical_as_in_the_paper(features, labeled):
    pool = make_pool(features, labeled)
    chosen = selection.select("typical", pool, 6, seed=1)
    assert chosen.index.tolist() == slow_typical(pool, 6, seed=1)


def test_coverage_as_in_the_paper(features):
    pool = make_pool(features, labeled=(3, 8), excluded=(5, 9, 11))
    chosen = selection.select("coverage", pool, 7, seed=0)
    assert chosen.index.tolist() == slow_coverage(pool, 7)


def test_uncertain_as_in_the_paper(features, probabilities):
    pool = make_pool(features, labeled=(3, 8), probabilities=probabilities)
    chosen = selection.select("uncertain", pool, 3, seed=2)
    assert chosen.index.tolist() == slow_uncertain(pool, 3, seed=2)


def test_margin_of_a_single_class():
    np.testing.assert_array_equal(uncertain.margin(np.ones([2, 1])), [1, 1])


def test_typical_takes_one_of_each_cluster_the_largest_first(clusters):
    features, numbers = clusters
    chosen = selection.select("typical", make_pool(features), 3, seed=0)
    assert numbers[chosen.index].tolist() == [0, 1, 2]
    centers = np.eye(6)[[0, 1, 2]]
    distance = np.linalg.norm(features[chosen.index] - centers, axis=1)
    for number in range(3):
        others = np.linalg.norm(features[numbers == number] - centers[number], axis=1)
        assert distance[number] < np.median(others)


def test_typical_leaves_out_clusters_with_labels(clusters):
    features, numbers = clusters
    labeled = (0, 1, 45)  # of the two largest clusters
    chosen = selection.select("typical", make_pool(features, labeled), 1, seed=0)
    assert numbers[chosen.index].tolist() == [2]


def test_small_clusters_come_last(rng):
    """Two outliers are asked for only when nothing else is left."""
    alike = np.eye(4)[[0] * 40] + 0.01 * rng.normal(size=(40, 4))
    features = np.concatenate([alike, np.eye(4)[2:]])
    chosen = selection.select("typical", make_pool(features), 3, seed=0)
    assert chosen.index.max() < 40
    pool = make_pool(features, labeled=(0,), excluded=range(2, 40))
    chosen = selection.select("typical", pool, 2, seed=0)
    assert chosen.index[0] == 1
    assert chosen.index[1] in (40, 41)


def test_coverage_begins_in_the_middle_and_reaches_every_cluster(clusters):
    features, numbers = clusters
    chosen = selection.select("coverage", make_pool(features), 4, seed=0)
    assert numbers[chosen.index[0]] == 0  # the largest is nearest to the mean
    assert set(numbers[chosen.index]) == {0, 1, 2}


def test_uncertain_asks_between_the_classes(clusters):
    features, numbers = clusters
    probabilities = np.where(numbers[:, None] == 1, [[0.51, 0.49]], [[0.99, 0.01]])
    chosen = selection.select("uncertain", make_pool(features, (), (), probabilities), 2, seed=0)
    assert set(numbers[chosen.index]) == {1}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_twice_and_the_same_for_the_same_seed(strategy, features, probabilities):
    pool = make_pool(features, (1, 2), (4, 5), probabilities)
    first, second = (selection.select(strategy, pool, 20, seed=3) for _ in range(2))
    assert first.index.tolist() == second.index.tolist()
    assert len(set(first.index)) == len(first.reasons) == len(first.clusters) == 20
    assert not set(first.index) & {1, 2, 4, 5}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_images_that_are_all_alike(strategy):
    """Not as many clusters as images are asked for."""
    pool = make_pool(np.ones([30, 4]), (), (), np.full([30, 2], 0.5))
    chosen = selection.select(strategy, pool, 5, seed=0)
    assert len(set(chosen.index)) == 5


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_fewer_images_than_are_asked_for(strategy, features):
    chosen = selection.select(strategy, make_pool(features, range(50)), 20, seed=0)
    assert chosen.index.tolist() == list(range(50, 60))


def test_no_image_is_left(features):
    with pytest.raises(NotSelectable, match="none of the 60 images is left"):
        selection.select("typical", make_pool(features, range(50), range(50, 60)), 1, seed=0)


def test_features_that_are_not_finite(features):
    features[7] = np.nan
    with pytest.raises(NotSelectable, match="1 of 60 images have features that are not finite"):
        selection.select("random", Pool(features, *np.zeros([2, 60], bool)), 1, seed=0)


def test_uncertain_without_a_classifier(features):
    with pytest.raises(NotSelectable, match="needs a classifier"):
        selection.select("uncertain", make_pool(features), 1, seed=0)


@pytest.mark.parametrize(
    ("num_labeled", "has_classifier", "strategy", "reason"),
    [
        (0, False, "typical", "no classifier"),
        (50, False, "typical", "no classifier"),
        (29, True, "typical", "29 labels of 3 classes are few, less than 30"),
        (30, True, "uncertain", "30 labels of 3 classes are no longer few"),
    ],
)
def test_automatic_strategy(features, probabilities, num_labeled, has_classifier, strategy, reason):
    pool = make_pool(features, range(num_labeled), (), probabilities if has_classifier else None)
    name, why = selection.automatic_strategy(pool, num_classes=3)
    assert name == strategy
    assert reason in why
