"""Each evaluation against an independent computation, and against cases whose answer is known."""

import dataclasses
import types
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import calibration, datasets
from sklearn import metrics as sklearn_metrics
from sklearn import neighbors as sklearn_neighbors
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler, normalize

from tf_simclr.config.sections import EvalConfig
from tf_simclr.evaluation import metrics
from tf_simclr.evaluation.metrics import (
    EVALUATIONS,
    classifier,
    clustering,
    knn,
    linear_probe,
    retrieval,
    sgd_probe,
)
from tf_simclr.evaluation.metrics.base import Examples, NotPossible

OPTIONS = EvalConfig()
FIXED = EvalConfig(knn_k=5, knn_temperature=0.2)


@pytest.fixture(scope="module")
def digits():
    """(training, test) examples: scikit-learn's digits, their pixels as features."""
    bunch = datasets.load_digits()
    features, labels = bunch.data.astype(np.float32), bunch.target.astype(np.int64)
    return Examples(features[:600], labels[:600]), Examples(features[600:1000], labels[600:1000])


def clusters(rng, noise, count=60):
    """Three classes around three orthogonal points."""
    labels = np.arange(count) % 3
    return Examples(
        (np.eye(3)[labels] + noise * rng.normal(size=(count, 3))).astype(np.float32), labels
    )


def figures(name, train, test, options=OPTIONS):
    return metrics.run(name, train, test, options)[0]


def test_the_flag_names_the_registry():
    assert list(EVALUATIONS) == list(OPTIONS.evaluations)


@pytest.mark.parametrize(
    "name", [name for name, one in EVALUATIONS.items() if one.of == "features" and one.labels]
)
def test_perfect_clusters_and_random_labels(rng, name):
    """1 where the classes lie apart, chance where the labels say nothing."""
    train, test = clusters(rng, 0.02, 600), clusters(rng, 0.02, 600)
    assert all(value == pytest.approx(1) for value in figures(name, train, test).values())
    chance = {
        "clustering_nmi": 0,
        "clustering_ari": 0,
        "retrieval_recall_at_5": 1 - (2 / 3) ** 5,
        "retrieval_recall_at_10": 1 - (2 / 3) ** 10,
    }
    shuffled = [
        dataclasses.replace(one, labels=rng.permutation(one.labels)) for one in (train, test)
    ]
    for figure, value in figures(name, *shuffled).items():
        assert value == pytest.approx(chance.get(figure, 1 / 3), abs=0.09), figure


@pytest.mark.parametrize(
    "name", [name for name, one in EVALUATIONS.items() if one.of == "features"]
)
def test_the_same_again(digits, name):
    assert metrics.run(name, *digits, OPTIONS) == metrics.run(name, *digits, OPTIONS)


# k-NN


def slow_knn(train, test, k, temperature):
    correct = 0
    for x, label in zip(test.features, test.labels, strict=True):
        cosine = train.features @ x / (np.linalg.norm(train.features, axis=1) * np.linalg.norm(x))
        votes = np.zeros(10)
        for i in np.argsort(-cosine)[:k]:
            votes[train.labels[i]] += np.exp(cosine[i] / temperature)
        correct += votes.argmax() == label
    return correct / len(test)


@pytest.mark.parametrize("noise", [0.2, 0.6, 1.5])
def test_knn_equals_the_loop(rng, noise):
    train, test = clusters(rng, noise), clusters(rng, noise)
    assert figures("knn", train, test, FIXED) == {
        "knn_accuracy": pytest.approx(slow_knn(train, test, 5, 0.2))
    }


def test_knn_equals_scikit_learn(digits):
    train, test = digits
    vote = sklearn_neighbors.KNeighborsClassifier(
        20,
        algorithm="brute",
        metric="cosine",
        weights=lambda distance: np.exp((1 - distance) / 0.1),
    )
    expected = vote.fit(train.features, train.labels).score(test.features, test.labels)
    assert figures("knn", train, test, EvalConfig(knn_k=20, knn_temperature=0.1))[
        "knn_accuracy"
    ] == pytest.approx(expected)


def test_k_and_temperature_are_chosen_on_the_training_examples(digits):
    """The best of leave-one-out over all of them, one by one; the test labels do not matter."""
    train, test = digits
    train = train.drawn(80)
    right = {}
    for k in (k for k in knn.NEIGHBORS if k < 80):
        for temperature in knn.TEMPERATURES:
            score = [
                slow_knn(
                    train.take(np.arange(80) != i), train.take(np.arange(80) == i), k, temperature
                )
                for i in range(80)
            ]
            right[-np.mean(score), k, temperature] = {"k": k, "temperature": temperature}
    chosen = metrics.run("knn", train, test, OPTIONS)[1]["knn"]
    assert chosen == right[min(right)]
    assert (
        metrics.run("knn", train, dataclasses.replace(test, labels=test.labels[::-1]), OPTIONS)[1][
            "knn"
        ]
        == chosen
    )


def test_of_equal_neighbours_it_is_the_query_that_is_left_out(rng):
    features = np.repeat(np.eye(2, dtype=np.float32), 4, 0)
    index = sklearn_neighbors.NearestNeighbors(algorithm="brute").fit(features)
    similarity, found = knn.nearest_others(index, features, np.arange(8), 3)
    assert all(
        i not in row and set(row) | {i} == set(range(i // 4 * 4, i // 4 * 4 + 4))
        for i, row in enumerate(found)
    )
    np.testing.assert_allclose(similarity, 1)
    assert knn.nearest_others(index, features, np.arange(8), 1)[1].shape == (8, 1)


# Linear probe


def test_probe_equals_scikit_learn(digits):
    """The strength is the best on the held-out fifth; the metric that of all examples."""
    train, test = digits
    found, details = metrics.run("probe", train, test, OPTIONS)
    strength = details["probe"]["l2_strength"]
    assert strength in linear_probe.STRENGTHS
    scaler = StandardScaler().fit(train.features)
    expected = LogisticRegression(C=1 / strength, max_iter=1000, tol=1e-6).fit(
        scaler.transform(train.features), train.labels
    )
    assert found["linear_probe_accuracy"] == pytest.approx(
        expected.score(scaler.transform(test.features), test.labels), abs=0.005
    )


def test_the_strength_is_chosen_on_training_examples(rng):
    """Few examples, many features that say nothing: a strong penalty is chosen, and helps."""
    labels = np.arange(40) % 2
    train, test = (
        Examples(
            np.concatenate(
                [(2 * labels - 1)[:, None] + rng.normal(size=(40, 1)), rng.normal(size=(40, 200))],
                1,
            ).astype(np.float32),
            labels,
        )
        for _ in range(2)
    )
    details = metrics.run("probe", train, test, OPTIONS)[1]
    assert details["probe"]["l2_strength"] > linear_probe.STRENGTHS[-1]
    assert (
        metrics.run("probe", train, dataclasses.replace(test, labels=1 - labels), OPTIONS)[1]
        == details
    )


@pytest.mark.parametrize(
    ("scores", "looked_at"),
    [
        ([0.252, 0.254, 0.253, 0.29, 0.31, 0.305], 6),
        ([0.5, 0.6, 0.59, 0.61, 0.4, 0.9], 5),
        ([0.5, 0.3, 0.9, 0.9, 0.9, 0.9], 2),
        ([1.0, 0.999, 1.0, 1.0, 1.0, 1.0], 2),
    ],
)
def test_only_a_clear_fall_ends_the_search_for_a_strength(monkeypatch, scores, looked_at):
    """Of 1,000 examples 0.253 after 0.254 is chance, 0.4 after 0.61 is not."""
    left = iter(scores)
    monkeypatch.setattr(
        linear_probe,
        "_quietly",
        lambda regression, *fitted_to: types.SimpleNamespace(score=lambda *held_out: next(left)),
    )
    right = linear_probe._path((), (np.zeros([1000, 2]), np.zeros(1000)), True)
    assert right.tolist() == scores[:looked_at] + [0.0] * (len(scores) - looked_at)


def test_probe_of_one_example_a_class(rng):
    """Nothing can be held out, so the strength is 1."""
    train = clusters(rng, 0.01, 3)
    found, details = metrics.run("probe", train, clusters(rng, 0.01), OPTIONS)
    assert (found["linear_probe_accuracy"], details["probe"]["l2_strength"]) == (1, 1)


def test_probe_in_minibatches_equals_the_exact_one(digits, monkeypatch):
    train, test = digits
    monkeypatch.setattr(linear_probe, "SGD_EXAMPLES", 100)
    monkeypatch.setattr(sgd_probe, "LEAST_STEPS", 600)
    found, details = metrics.run("probe", train, test, OPTIONS)
    assert details["probe"]["solver"] == "minibatches"
    strength, fitted_to = (
        details["probe"]["l2_strength"],
        np.random.default_rng(0).permutation(600)[120:],
    )
    exact = linear_probe.fit(train.features[fitted_to], train.labels[fitted_to], strength)
    assert found["linear_probe_accuracy"] == pytest.approx(
        exact.score(test.features, test.labels), abs=0.01
    )


def test_minibatches_of_two_classes_and_labels_with_gaps(digits, monkeypatch):
    train, test = (one.take(np.isin(one.labels, (3, 8))) for one in digits)
    monkeypatch.setattr(sgd_probe, "LEAST_STEPS", 200)
    fitted, _ = sgd_probe.fit(train, (1.0, 0.1), 0.2)
    assert fitted.score(test.features, test.labels) > 0.95


def test_few_labels_equals_a_loop(digits):
    """Each draw has n examples of each class; mean and spread are those over draws."""
    train, test = digits
    found, details = metrics.run("few_labels", train, test, OPTIONS)
    scaler, rows = (
        StandardScaler().fit(train.features),
        {row["labels_per_class"]: row for row in details["few_labels"]},
    )
    assert [*rows] == [1, 2, 5, 10, 20]
    draws = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        index = np.concatenate(
            [rng.permutation(np.flatnonzero(train.labels == c))[:2] for c in range(10)]
        )
        fitted = LogisticRegression(C=1, max_iter=1000).fit(
            scaler.transform(train.features[index]), train.labels[index]
        )
        draws.append(fitted.score(scaler.transform(test.features), test.labels))
    assert rows[2]["draws"] == pytest.approx(draws, abs=0.01)
    assert (rows[2]["mean"], rows[2]["std"]) == (
        pytest.approx(np.mean(rows[2]["draws"])),
        pytest.approx(np.std(rows[2]["draws"])),
    )
    assert found["few_labels_2_accuracy"] == rows[2]["mean"]
    assert rows[1]["mean"] < rows[5]["mean"] < rows[20]["mean"]


def test_few_labels_of_few(digits):
    """With two labels a class in all there is one draw of two, and no figure for more."""
    train, test = digits
    index = np.concatenate([np.flatnonzero(train.labels == c)[:2] for c in range(10)])
    rows = metrics.run("few_labels", train.take(index), test, OPTIONS)[1]["few_labels"]
    assert [(row["labels_per_class"], len(row["draws"])) for row in rows] == [(1, 5), (2, 1)]


# Clustering


def test_clustering_equals_scikit_learn(digits):
    from sklearn.cluster import KMeans

    test = digits[1]
    found = KMeans(10, n_init=3, random_state=0).fit_predict(normalize(test.features))
    pairs = [(i, j) for i in range(len(found)) for j in range(i)]
    together, same = (
        np.array([values[i] == values[j] for i, j in pairs]) for values in (found, test.labels)
    )
    expected = (
        together.mean() * same.mean()
    )  # the adjusted Rand index, from its definition over pairs
    ari = ((together & same).mean() - expected) / ((together.mean() + same.mean()) / 2 - expected)
    result = figures("clustering", None, test)
    assert result["clustering_ari"] == pytest.approx(ari)
    assert result["clustering_nmi"] == pytest.approx(
        sklearn_metrics.normalized_mutual_info_score(test.labels, found)
    )


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_matched_accuracy_is_that_of_the_best_of_all_matchings(pairs):
    import itertools

    labels, found = np.array(pairs).T
    best = max(
        np.mean(np.array(order)[found] == labels) for order in itertools.permutations(range(4))
    )
    assert clustering.matched_accuracy(labels, found) == pytest.approx(best)


# Retrieval


def test_retrieval_equals_scikit_learn(digits):
    test = digits[1].drawn(150)
    cosine = sklearn_metrics.pairwise.cosine_similarity(test.features)
    precision, recall = [], {k: [] for k in retrieval.AT}
    for i in range(150):
        others = np.arange(150) != i
        hits = (test.labels == test.labels[i])[others]
        precision.append(sklearn_metrics.average_precision_score(hits, cosine[i][others]))
        first = hits[np.argsort(-cosine[i][others])]
        for k in recall:
            recall[k].append(first[:k].any())
    result = figures("retrieval", None, test)
    assert result["retrieval_map"] == pytest.approx(np.mean(precision))
    for k in recall:
        assert result[f"retrieval_recall_at_{k}"] == pytest.approx(np.mean(recall[k]))


def test_a_class_of_one_is_no_query(rng):
    """Two classes of two apart from one another, and one example alone."""
    test = Examples(
        np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [1, 1]], np.float32),
        np.array([0, 0, 1, 1, 2]),
    )
    assert figures("retrieval", None, test)["retrieval_map"] == 1
    with pytest.raises(NotPossible, match="no class has two test examples"):
        figures("retrieval", None, Examples(test.features, np.arange(5)))


def test_shown_neighbours(digits):
    test = digits[1]
    rows = metrics.run("neighbors", None, test, OPTIONS)[1]["neighbors"]
    assert {test.labels[row["query"]] for row in rows} == set(range(10)) and len(
        rows
    ) == retrieval.SHOWN
    cosine = sklearn_metrics.pairwise.cosine_similarity(test.features)
    for row in rows:
        others = [i for i in np.argsort(-cosine[row["query"]]) if i != row["query"]]
        assert row["neighbors"] == others[:8]
        assert row["similarity"] == pytest.approx(cosine[row["query"]][others[:8]], abs=1e-4)
    unlabeled = metrics.run("neighbors", None, Examples(test.features, np.full(400, -1)), OPTIONS)[
        1
    ]["neighbors"]
    assert len(unlabeled) == retrieval.SHOWN


# The trained classifier


def test_classifier_equals_scikit_learn(digits):
    train, test = digits
    fitted = linear_probe.fit(train.features, train.labels, 100.0)
    logits = fitted.decision_function(test.features).astype(np.float32)
    found, details = metrics.run("classifier", None, Examples(logits, test.labels), OPTIONS)
    odds = fitted.predict_proba(test.features)
    assert found["label_top_1_accuracy"] == pytest.approx(
        sklearn_metrics.accuracy_score(test.labels, odds.argmax(1))
    )
    assert found["label_top_5_accuracy"] == pytest.approx(
        sklearn_metrics.top_k_accuracy_score(test.labels, odds, k=5)
    )
    assert found["negative_log_likelihood"] == pytest.approx(
        sklearn_metrics.log_loss(test.labels, odds), rel=1e-4
    )
    assert (
        details["confusion"]
        == sklearn_metrics.confusion_matrix(test.labels, odds.argmax(1)).tolist()
    )
    assert details["per_class_accuracy"] == pytest.approx(
        sklearn_metrics.recall_score(test.labels, odds.argmax(1), average=None)
    )
    correct, confidence = odds.argmax(1) == test.labels, odds.max(1)
    accuracies, confidences = calibration.calibration_curve(correct, confidence, n_bins=15)
    filled = [b for b in details["reliability"] if b["count"]]
    assert [b["accuracy"] for b in filled] == pytest.approx(accuracies)
    assert [b["confidence"] for b in filled] == pytest.approx(confidences, rel=1e-4)
    ece = stats.binned_statistic(
        confidence, [correct, confidence], "sum", bins=15, range=(0, 1)
    ).statistic
    assert found["expected_calibration_error"] == pytest.approx(
        np.abs(ece[0] - ece[1]).sum() / len(test), rel=1e-3
    )
    wrong = sorted(np.flatnonzero(~correct), key=lambda i: -confidence[i])
    assert [m["example"] for m in details["mistakes"]] == wrong[: classifier.SHOWN]


def test_calibration_of_known_cases():
    sure = np.full((10, 2), -50.0)
    sure[:, 0] = 50.0
    known = {0: 0.0, 3: 0.3}  # how many are of the other class -> the error, at confidence 1
    for others, expected in known.items():
        labels = np.array([1] * others + [0] * (10 - others))
        assert figures("classifier", None, Examples(sure, labels))[
            "expected_calibration_error"
        ] == pytest.approx(expected)


def test_a_class_that_is_not_there():
    details = metrics.run("classifier", None, Examples(np.eye(3), np.array([0, 1, 1])), OPTIONS)[1]
    assert details["per_class_accuracy"] == [1, 0.5, None]
    assert details["confusion"] == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


def test_a_constant_classifier_gets_nothing():
    """All logits equal is not a right answer."""
    result = dict(
        classifier.evaluate(None, Examples(np.zeros((4, 10)), np.zeros(4, np.int64)), OPTIONS)
    )
    assert result["label_top_1_accuracy"] == 0


# Health


def test_health_equals_slow_loops(rng):
    features, views = (
        rng.normal(size=(30, 6)).astype(np.float32),
        rng.normal(size=(9, 2, 6)).astype(np.float32),
    )
    features[:, 4] = 2.5
    result = figures("health", None, Examples(features, np.full(30, -1), views))
    values = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    assert result["feature_rank"] == pytest.approx(np.exp(stats.entropy(values)), rel=1e-6)
    unit = normalize(features)
    assert result["feature_std"] == pytest.approx(
        np.mean([np.std(unit[:, c]) for c in range(6)]) * 6**0.5, rel=1e-5
    )
    pairs = [
        np.exp(-2 * np.sum((unit[i] - unit[j]) ** 2))
        for i in range(30)
        for j in range(30)
        if i != j
    ]
    assert result["uniformity"] == pytest.approx(np.log(np.mean(pairs)), rel=1e-5)
    both = [normalize(pair) for pair in views]
    assert result["alignment"] == pytest.approx(
        np.mean([np.sum((a - b) ** 2) for a, b in both]), rel=1e-5
    )
    assert result["dead_dimensions"] == pytest.approx(1 / 6)


def test_health_of_known_cases(rng):
    collapsed = figures(
        "health",
        None,
        Examples(np.ones((50, 8), np.float32), np.full(50, -1), np.ones((5, 2, 8), np.float32)),
    )
    assert collapsed == {
        "feature_rank": pytest.approx(1),
        "dead_dimensions": 1,
        "feature_std": pytest.approx(0, abs=1e-6),
        "uniformity": pytest.approx(0),
        "alignment": 0,
    }
    spread = figures(
        "health", None, Examples(rng.normal(size=(5000, 8)).astype(np.float32), np.full(5000, -1))
    )
    assert spread["feature_rank"] == pytest.approx(8, abs=0.01) and spread[
        "feature_std"
    ] == pytest.approx(1, abs=0.01)
    assert spread["uniformity"] < -3 and "alignment" not in spread


# What can't be evaluated


def broken(digits, what):
    train, test = digits
    options = OPTIONS
    if what == "no labels":
        train, test = (dataclasses.replace(one, labels=np.full(len(one), -1)) for one in digits)
    elif what == "one class":
        train, test = (one.take(one.labels == 3) for one in digits)
    elif what == "not a number":
        features = test.features.copy()
        features[5, 2] = np.nan
        test = dataclasses.replace(test, features=features)
    elif what == "fewer than k":
        options = EvalConfig(knn_k=200, knn_temperature=0.1)
        train = train.drawn(100)
    elif what == "one example":
        test = test.take(np.arange(1))
    return train, test, options


@pytest.mark.parametrize(
    ("what", "reasons"),
    [
        (
            "no labels",
            {
                "probe": "no training example has a label",
                "few_labels": "no training",
                "knn": "no training",
                "clustering": "no test",
                "retrieval": "no test",
            },
        ),
        (
            "one class",
            {
                "probe": "of one class only",
                "few_labels": "of one class only",
                "clustering": "of one class only",
            },
        ),
        (
            "not a number",
            {
                name: "1 of 400 test examples have features that are not finite"
                for name, one in EVALUATIONS.items()
                if one.of == "features"
            },
        ),
        ("fewer than k", {"knn": "--knn_k=200 neighbours are to vote, and there are 100"}),
        (
            "one example",
            {
                "clustering": "one class",
                "retrieval": "no class has two",
                "neighbors": "one test example only",
                "health": "one test example only",
            },
        ),
    ],
)
def test_what_is_not_possible_says_so_and_the_others_go_on(digits, what, reasons):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in [name for name, one in EVALUATIONS.items() if one.of == "features"]:
            arguments = broken(digits, what)
            if name in reasons:
                with pytest.raises(NotPossible, match=reasons[name]):
                    metrics.run(name, *arguments)
            else:
                found, details = metrics.run(name, *arguments)
                assert all(np.isfinite(value) for value in found.values()) and (found or details)


def test_examples_without_label_do_not_count(digits):
    train, test = digits
    some = dataclasses.replace(test, labels=np.where(np.arange(400) < 100, test.labels, -1))
    for name in ("probe", "knn", "clustering", "retrieval"):
        assert figures(name, train, some) == figures(name, train, test.take(np.arange(100)))


def test_no_training_examples(digits):
    with pytest.raises(NotPossible, match="no training example has a label"):
        metrics.run("knn", None, digits[1], OPTIONS)
    assert figures("retrieval", None, digits[1])
