"""Each evaluation against an independent computation, and against cases whose answer is known."""

import dataclasses
import itertools
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import calibration, datasets, model_selection, pipeline
from sklearn import metrics as sklearn_metrics
from sklearn import neighbors as sklearn_neighbors
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler, normalize

from tf_simclr.config.evaluation_sections import EvalConfig
from tf_simclr.evaluation import metrics
from tf_simclr.evaluation.metrics import (
    EVALUATIONS,
    base,
    classifier,
    clustering,
    knn,
    label_law,
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
    features = np.eye(3)[labels] + noise * rng.normal(size=(count, 3))
    return Examples(features.astype(np.float32), labels)


def test_normalized_holds_no_copies_of_all(rng, monkeypatch):
    """Block by block the numbers are the same to the last digit."""
    features = rng.normal(size=(5000, 64)).astype(np.float32)
    expected = base.normalized(features)
    np.testing.assert_allclose(expected, normalize(features), rtol=1e-6)
    monkeypatch.setattr(base, "BLOCK", 300)
    tracemalloc.start()
    unit = base.normalized(features)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(unit, expected)
    assert peak < 1.3 * features.nbytes
    views = features.reshape(-1, 2, 64)
    np.testing.assert_array_equal(base.normalized(views), expected.reshape(views.shape))


def test_a_classifier_of_many_classes_is_evaluated_in_blocks(rng, monkeypatch):
    """The numbers are the same, and nothing else is as large as the logits."""
    logits = rng.normal(size=(3000, 400)).astype(np.float32)
    test = Examples(logits, rng.integers(400, size=3000))
    expected = metrics.run("classifier", None, test, OPTIONS)
    monkeypatch.setattr(base, "BLOCK", 100)
    monkeypatch.setattr(classifier, "MAX_CONFUSION_CLASSES", 1)
    del expected[1]["confusion"]
    tracemalloc.start()
    assert metrics.run("classifier", None, test, OPTIONS) == expected
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < logits.nbytes


def test_a_vote_over_many_classes_is_in_blocks(rng, monkeypatch):
    similarity, labels = rng.random((3000, 5)), rng.integers(400, size=(3000, 5))
    labels[0] = 399
    expected = knn.vote(similarity, labels, 0.1)
    monkeypatch.setattr(base, "BLOCK", 100)
    tracemalloc.start()
    np.testing.assert_array_equal(knn.vote(similarity, labels, 0.1), expected)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3000 * 400


def run_metrics(name, train, test, options=OPTIONS):
    values, _ = metrics.run(name, train, test, options)
    return values


def run_detail(name, train, test, options=OPTIONS):
    """The detail that has the name of its evaluation."""
    _, details = metrics.run(name, train, test, options)
    return details[name]


OF_FEATURES = [name for name, row in EVALUATIONS.items() if row.reads == "features"]
OF_LABELS = [name for name in OF_FEATURES if EVALUATIONS[name].needs_labels]


def test_the_flag_names_the_registry():
    assert list(EVALUATIONS) == list(OPTIONS.evaluations)


@pytest.mark.parametrize("name", OF_LABELS)
def test_perfect_clusters_and_random_labels(rng, name):
    """1 where the classes lie apart, chance where the labels say nothing."""
    train, test = clusters(rng, 0.02, 600), clusters(rng, 0.02, 600)
    assert all(value == pytest.approx(1) for value in run_metrics(name, train, test).values())
    chance = {
        "clustering_nmi": 0,
        "clustering_ari": 0,
        "retrieval_recall_at_5": 1 - (2 / 3) ** 5,
        "retrieval_recall_at_10": 1 - (2 / 3) ** 10,
    }
    train = dataclasses.replace(train, labels=rng.permutation(train.labels))
    test = dataclasses.replace(test, labels=rng.permutation(test.labels))
    for metric, value in run_metrics(name, train, test).items():
        assert value == pytest.approx(chance.get(metric, 1 / 3), abs=0.09), metric


@pytest.mark.parametrize("name", OF_FEATURES)
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
    assert run_metrics("knn", train, test, FIXED) == {
        "knn_accuracy": pytest.approx(slow_knn(train, test, 5, 0.2))
    }


def test_knn_equals_scikit_learn(digits):
    train, test = digits
    weights = lambda distance: np.exp((1 - distance) / 0.1)
    vote = sklearn_neighbors.KNeighborsClassifier(20, weights=weights, metric="cosine")
    expected = vote.fit(train.features, train.labels).score(test.features, test.labels)
    options = EvalConfig(knn_k=20, knn_temperature=0.1)
    values = run_metrics("knn", train, test, options)
    assert values["knn_accuracy"] == pytest.approx(expected)


def test_k_and_temperature_are_chosen_on_the_training_examples(digits):
    """The best of leave-one-out over all of them, one by one; the test labels do not matter."""
    train, test = digits
    train = train.drawn(80)
    numbers = np.arange(80)
    errors = {}
    for k in [k for k in knn.CHOICES_OF_K if k < 80]:
        for temperature in knn.TEMPERATURES:
            num_right = 0
            for left_out in numbers:
                others, single = train.take(numbers != left_out), train.take(numbers == left_out)
                num_right += slow_knn(others, single, k, temperature)
            errors[k, temperature] = 80 - num_right
    k, temperature = min(errors, key=lambda choice: (errors[choice], *choice))
    chosen = run_detail("knn", train, test)
    assert chosen == {"k": k, "temperature": temperature}
    other_labels = dataclasses.replace(test, labels=test.labels[::-1])
    assert run_detail("knn", train, other_labels) == chosen


def test_of_equal_neighbors_it_is_the_query_that_is_left_out(rng):
    features = np.repeat(np.eye(2, dtype=np.float32), 4, 0)
    index = sklearn_neighbors.NearestNeighbors(algorithm="brute").fit(features)
    similarity, neighbors = knn.nearest_others(index, features, np.arange(8), 3)
    for query, nearest in enumerate(neighbors):
        first = query // 4 * 4
        assert sorted([query, *nearest]) == [first, first + 1, first + 2, first + 3]
    np.testing.assert_allclose(similarity, 1)
    _, nearest = knn.nearest_others(index, features, np.arange(8), 1)
    assert nearest.shape == (8, 1)


# Linear probe


def test_probe_equals_scikit_learn(digits):
    """The strength is the best on the held-out fifth; the metric that of all examples."""
    train, test = digits
    values, details = metrics.run("probe", train, test, OPTIONS)
    strength = details["probe"]["l2_strength"]
    assert strength in linear_probe.STRENGTHS
    scaler = StandardScaler().fit(train.features)
    reference = LogisticRegression(C=1 / strength, max_iter=1000, tol=1e-6)
    reference.fit(scaler.transform(train.features), train.labels)
    expected = reference.score(scaler.transform(test.features), test.labels)
    assert values["linear_probe_accuracy"] == pytest.approx(expected, abs=0.005)


def test_the_strength_is_chosen_on_training_examples(rng):
    """Few examples, many features that say nothing: a strong penalty is chosen, and helps."""
    labels = np.arange(40) % 2

    def noisy_examples():
        signal = (2 * labels - 1)[:, None] + rng.normal(size=(40, 1))
        features = np.concatenate([signal, rng.normal(size=(40, 200))], 1)
        return Examples(features.astype(np.float32), labels)

    train, test = noisy_examples(), noisy_examples()
    detail = run_detail("probe", train, test)
    assert detail["l2_strength"] > 1
    assert run_detail("probe", train, dataclasses.replace(test, labels=1 - labels)) == detail


@pytest.mark.parametrize(
    ("scores", "num_computed"),
    [
        ([0.252, 0.254, 0.253, 0.29, 0.31, 0.305], 6),
        ([0.5, 0.6, 0.59, 0.61, 0.4, 0.9], 5),
        ([0.5, 0.3, 0.9, 0.9, 0.9, 0.9], 2),
        ([1.0, 0.999, 1.0, 1.0, 1.0, 1.0], 2),
    ],
)
def test_only_a_clear_fall_ends_the_search_for_a_strength(monkeypatch, scores, num_computed):
    """Of 1,000 examples 0.253 after 0.254 is chance, 0.4 after 0.61 is not."""
    left = iter(scores)
    monkeypatch.setattr(LogisticRegression, "fit", lambda *fitted_to: None)
    monkeypatch.setattr(LogisticRegression, "score", lambda *held_out: next(left))
    held_out = (np.zeros([1000, 2]), np.zeros(1000))
    accuracies = linear_probe._accuracy_of_strengths(
        ([], []), held_out, balanced=False, stops_early=True
    )
    not_computed = [0.0] * (len(scores) - num_computed)
    assert accuracies.tolist() == scores[:num_computed] + not_computed


def test_probe_of_one_example_a_class(rng):
    """Nothing can be held out, so the strength is 1."""
    train = clusters(rng, 0.01, 3)
    values, details = metrics.run("probe", train, clusters(rng, 0.01), OPTIONS)
    assert (values["linear_probe_accuracy"], details["probe"]["l2_strength"]) == (1, 1)


def test_probe_of_many_classes_goes_on_after_the_first_steps(rng):
    """Of 1,500 classes each has so small a share of the mean gradient that it looks like an end."""
    centers = rng.normal(size=(1500, 8)).astype(np.float32)
    fitted = linear_probe.fit(centers, np.arange(1500))
    assert fitted.score(centers, np.arange(1500)) > 0.6  # 0.4 after two steps


def test_probe_in_minibatches_equals_the_exact_one(digits, monkeypatch):
    train, test = digits
    monkeypatch.setattr(linear_probe, "MAX_LBFGS_EXAMPLES", 100)
    monkeypatch.setattr(sgd_probe, "MIN_STEPS", 600)
    values, details = metrics.run("probe", train, test, OPTIONS)
    assert details["probe"]["solver"] == "minibatches"
    strength = details["probe"]["l2_strength"]
    fitted_to = np.random.default_rng(0).permutation(600)[120:]
    monkeypatch.undo()
    exact = linear_probe.fit(train.features[fitted_to], train.labels[fitted_to], strength)
    expected = exact.score(test.features, test.labels)
    assert values["linear_probe_accuracy"] == pytest.approx(expected, abs=0.01)


def test_minibatches_of_many_classes_are_scored_a_few_at_a_time(digits, monkeypatch):
    """So many that no more logits are held than are allowed; the choice is the same."""
    train, _ = digits
    monkeypatch.setattr(sgd_probe, "MIN_STEPS", 50)
    fitted, strength = sgd_probe.fit(train, (1e4, 1.0), 0.2)
    sizes = []
    blocks = sgd_probe._blocks

    def recorded(index, size):
        sizes.append(size)
        return blocks(index, size)

    monkeypatch.setattr(sgd_probe, "_blocks", recorded)
    monkeypatch.setattr(sgd_probe, "MAX_SCORED", 100)
    again, same_strength = sgd_probe.fit(train, (1e4, 1.0), 0.2)
    assert sizes[-1] == 5  # of two strengths and ten classes
    assert strength == same_strength
    np.testing.assert_array_equal(fitted[1].coef_, again[1].coef_)


@pytest.mark.parametrize("limit", ["MAX_LBFGS_EXAMPLES", "MAX_LBFGS_PRODUCTS"])
def test_a_probe_of_known_strength_goes_through_minibatches_too(digits, limit, monkeypatch):
    """Those of many examples or products, such as the start of a linear head."""
    train, test = digits
    exact = linear_probe.fit(train.features, train.labels, 10.0)
    monkeypatch.setattr(linear_probe, limit, 100)
    monkeypatch.setattr(sgd_probe, "MIN_STEPS", 600)
    monkeypatch.setattr(LogisticRegression, "fit", None)  # it would hold all of them at once
    fitted = linear_probe.fit(train.features, train.labels, 10.0)
    agreement = np.mean(fitted.predict(test.features) == exact.predict(test.features))
    assert agreement > 0.97


def test_minibatches_of_two_classes_and_labels_with_gaps(digits, monkeypatch):
    train, test = (examples.take(np.isin(examples.labels, (3, 8))) for examples in digits)
    monkeypatch.setattr(sgd_probe, "MIN_STEPS", 200)
    fitted, _ = sgd_probe.fit(train, (1.0, 0.1), 0.2)
    assert fitted.score(test.features, test.labels) > 0.95


def test_few_labels_equals_a_loop(digits):
    """Each draw has n examples of each class; mean and spread are those over draws."""
    train, test = digits
    values, details = metrics.run("few_labels", train, test, OPTIONS)
    by_count = {entry["labels_per_class"]: entry for entry in details["few_labels"]}
    assert list(by_count) == [1, 2, 5, 10, 20]
    scaler = StandardScaler().fit(train.features)
    draws = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        members = [np.flatnonzero(train.labels == label) for label in range(10)]
        index = np.concatenate([rng.permutation(numbers)[:2] for numbers in members])
        fitted = LogisticRegression(C=1, max_iter=1000)
        fitted.fit(scaler.transform(train.features[index]), train.labels[index])
        draws.append(fitted.score(scaler.transform(test.features), test.labels))
    two_labels = by_count[2]
    assert two_labels["draws"] == pytest.approx(draws, abs=0.01)
    assert two_labels["mean"] == pytest.approx(np.mean(two_labels["draws"]))
    assert two_labels["std"] == pytest.approx(np.std(two_labels["draws"]))
    assert values["few_labels_2_accuracy"] == two_labels["mean"]
    assert by_count[1]["mean"] < by_count[5]["mean"] < by_count[20]["mean"]
    assert [entry["labels"] for entry in by_count.values()] == [10, 20, 50, 100, 200]
    draws = [entry["draws"] for entry in by_count.values()]
    assert details["label_law"] == label_law.answer([10, 20, 50, 100, 200], draws, len(test))


def test_few_labels_of_few(digits):
    """With two labels a class in all there is one draw of two, and no metric for more."""
    train, test = digits
    index = np.concatenate([np.flatnonzero(train.labels == c)[:2] for c in range(10)])
    entries = run_detail("few_labels", train.take(index), test)
    draws = {entry["labels_per_class"]: len(entry["draws"]) for entry in entries}
    assert draws == {1: 5, 2: 1}


def test_labels_of_an_uneven_curve(digits):
    """Where a class runs out, the labels in all are fewer than those of a class times classes."""
    train, test = digits
    index = np.concatenate([np.flatnonzero(train.labels == c)[: c + 2] for c in range(10)])
    entries = run_detail("few_labels", train.take(index), test)
    labels = {entry["labels_per_class"]: entry["labels"] for entry in entries}
    assert labels == {1: 10, 2: 20, 5: 44, 10: 64, 20: 65}


def test_one_label_a_class_is_no_warning(rng):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        linear_probe.fit(rng.normal(size=[30, 4]), np.arange(30), 1.0)


# Clustering


def test_cross_validation_equals_scikit_learn(digits):
    train, test = (examples.take(np.arange(50)) for examples in digits)
    values, details = metrics.run("cross_validation", train, test, OPTIONS)
    features = np.concatenate([train.features, test.features])
    labels = np.concatenate([train.labels, test.labels])
    regression = LogisticRegression(
        max_iter=linear_probe.MAX_ITERATIONS, tol=linear_probe.TOLERANCE
    )
    folds = model_selection.StratifiedKFold(10, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predicted = model_selection.cross_val_predict(
            pipeline.make_pipeline(StandardScaler(), regression), features, labels, cv=folds
        )
    assert values == {"cross_validated_accuracy": np.mean(predicted == labels)}
    assert details == {"cross_validation": {"images": 100, "folds": 10}}


def test_cross_validation_is_of_few_test_examples(digits):
    train, test = digits
    assert run_metrics("cross_validation", train, test.take(np.arange(100))) == {}
    assert run_metrics("cross_validation", train, test.take(np.arange(99)))


def test_cross_validation_leaves_out_classes_of_one(rng):
    train = clusters(rng, noise=0.01, count=9)
    lonely = Examples(np.full([1, 3], 5, np.float32), np.array([3]))
    values, details = metrics.run("cross_validation", train, lonely, OPTIONS)
    assert details["cross_validation"] == {"images": 9, "folds": 3}
    assert values["cross_validated_accuracy"] == 1
    with pytest.raises(NotPossible, match="fewer than two classes have two labeled images"):
        metrics.run("cross_validation", train.take(np.arange(3)), lonely, OPTIONS)


def test_clustering_equals_scikit_learn(digits):
    from sklearn.cluster import KMeans

    _, test = digits
    assigned = KMeans(10, n_init=3, random_state=0).fit_predict(normalize(test.features))
    first, second = np.tril_indices(len(assigned), -1)  # all pairs
    together = assigned[first] == assigned[second]
    same = test.labels[first] == test.labels[second]
    # The adjusted Rand index, from its definition over pairs.
    expected = together.mean() * same.mean()
    ari = ((together & same).mean() - expected) / ((together.mean() + same.mean()) / 2 - expected)
    result = run_metrics("clustering", None, test)
    assert result["clustering_ari"] == pytest.approx(ari)
    nmi = sklearn_metrics.normalized_mutual_info_score(test.labels, assigned)
    assert result["clustering_nmi"] == pytest.approx(nmi)


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_matched_accuracy_is_that_of_the_best_of_all_matchings(pairs):
    labels, assigned = np.array(pairs).T
    orders = [np.array(order) for order in itertools.permutations(range(4))]
    best = max(np.mean(order[assigned] == labels) for order in orders)
    assert clustering.matched_accuracy(labels, assigned) == pytest.approx(best)


# Retrieval


def test_retrieval_equals_scikit_learn(digits):
    _, test = digits
    test = test.drawn(150)
    cosine = sklearn_metrics.pairwise.cosine_similarity(test.features)
    precision, recall = [], {k: [] for k in retrieval.RECALL_AT}
    for i in range(150):
        others = np.arange(150) != i
        hits = (test.labels == test.labels[i])[others]
        precision.append(sklearn_metrics.average_precision_score(hits, cosine[i][others]))
        first = hits[np.argsort(-cosine[i][others])]
        for k in recall:
            recall[k].append(first[:k].any())
    result = run_metrics("retrieval", None, test)
    assert result["retrieval_map"] == pytest.approx(np.mean(precision))
    for k in recall:
        assert result[f"retrieval_recall_at_{k}"] == pytest.approx(np.mean(recall[k]))


def test_a_class_of_one_is_no_query(rng):
    """Two classes of two apart from one another, and one example alone."""
    test = Examples(
        np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [1, 1]], np.float32),
        np.array([0, 0, 1, 1, 2]),
    )
    assert run_metrics("retrieval", None, test)["retrieval_map"] == 1
    with pytest.raises(NotPossible, match="no class has two test examples"):
        run_metrics("retrieval", None, Examples(test.features, np.arange(5)))


def test_neighbors(digits):
    _, test = digits
    queries = run_detail("neighbors", None, test)
    assert {test.labels[entry["query"]] for entry in queries} == set(range(10))
    assert len(queries) == retrieval.NUM_QUERIES
    cosine = sklearn_metrics.pairwise.cosine_similarity(test.features)
    for entry in queries:
        query = entry["query"]
        nearest = [i for i in np.argsort(-cosine[query]) if i != query][:8]
        assert entry["neighbors"] == nearest
        assert entry["similarity"] == pytest.approx(cosine[query][nearest], abs=1e-4)
    unlabeled = Examples(test.features, np.full(400, -1))
    assert len(run_detail("neighbors", None, unlabeled)) == retrieval.NUM_QUERIES


# The trained classifier


def test_classifier_equals_scikit_learn(digits):
    train, test = digits
    fitted = linear_probe.fit(train.features, train.labels, 100.0)
    logits = fitted.decision_function(test.features).astype(np.float32)
    values, details = metrics.run("classifier", None, Examples(logits, test.labels), OPTIONS)
    odds = fitted.predict_proba(test.features)
    predicted = odds.argmax(1)
    expected = {
        "label_top_1_accuracy": sklearn_metrics.accuracy_score(test.labels, predicted),
        "label_top_5_accuracy": sklearn_metrics.top_k_accuracy_score(test.labels, odds, k=5),
        "negative_log_likelihood": sklearn_metrics.log_loss(test.labels, odds),
    }
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, rel=1e-4)
    confusion = sklearn_metrics.confusion_matrix(test.labels, predicted)
    assert details["confusion"] == confusion.tolist()
    recall = sklearn_metrics.recall_score(test.labels, predicted, average=None)
    assert details["per_class_accuracy"] == pytest.approx(recall)
    correct, confidence = predicted == test.labels, odds.max(1)
    check_calibration(values, details, correct, confidence)
    wrong = sorted(np.flatnonzero(~correct), key=lambda i: -confidence[i])
    mistakes = [mistake["example"] for mistake in details["mistakes"]]
    assert mistakes == wrong[: classifier.MAX_MISTAKES]


def check_calibration(values, details, correct, confidence):
    """The reliability diagram and its error, against scikit-learn and SciPy."""
    accuracies, confidences = calibration.calibration_curve(correct, confidence, n_bins=15)
    filled = [b for b in details["reliability"] if b["count"]]
    assert [b["accuracy"] for b in filled] == pytest.approx(accuracies)
    assert [b["confidence"] for b in filled] == pytest.approx(confidences, rel=1e-4)
    in_bins = stats.binned_statistic(
        confidence, [correct, confidence], "sum", bins=15, range=(0, 1)
    )
    num_correct, total_confidence = in_bins.statistic
    error = np.abs(num_correct - total_confidence).sum() / len(correct)
    assert values["expected_calibration_error"] == pytest.approx(error, rel=1e-3)


def test_calibration_of_known_cases():
    sure = np.full((10, 2), -50.0)
    sure[:, 0] = 50.0
    known = {0: 0.0, 3: 0.3}  # how many are of the other class -> the error, at confidence 1
    for others, expected in known.items():
        labels = np.array([1] * others + [0] * (10 - others))
        values = run_metrics("classifier", None, Examples(sure, labels))
        assert values["expected_calibration_error"] == pytest.approx(expected)


@pytest.mark.parametrize("least, most", [(0.2, 1), (0.2, 0.4), (0.9, 1), (0.995, 1)])
@pytest.mark.parametrize("num_images", [30, 360])
def test_calibration_error_of_a_perfectly_calibrated_classifier(rng, least, most, num_images):
    confidence = np.linspace(least, most, num_images)
    is_right = rng.random((4000, num_images)) < confidence
    errors = [
        classifier.calibration_error(classifier.reliability(confidence, correct))
        for correct in is_right
    ]
    by_chance = classifier.calibration_error_by_chance(confidence)
    assert by_chance == pytest.approx(np.mean(errors), rel=0.15)


def test_chance_makes_no_calibration_error_of_what_is_certain():
    sure = Examples(np.float32([[50, -50], [-50, 50]]), np.array([0, 0]))
    _, details = metrics.run("classifier", None, sure, OPTIONS)
    assert details["calibration_error_by_chance"] == pytest.approx(0, abs=1e-6)


def test_a_class_that_is_not_there():
    examples = Examples(np.eye(3), np.array([0, 1, 1]))
    _, details = metrics.run("classifier", None, examples, OPTIONS)
    assert details["per_class_accuracy"] == [1, 0.5, None]
    assert details["confusion"] == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


def test_a_constant_classifier_gets_nothing():
    """All logits equal is not a right answer."""
    examples = Examples(np.zeros((4, 10)), np.zeros(4, np.int64))
    assert run_metrics("classifier", None, examples)["label_top_1_accuracy"] == 0


# Health


def test_health_equals_slow_loops(rng):
    features = rng.normal(size=(30, 6)).astype(np.float32)
    views = rng.normal(size=(9, 2, 6)).astype(np.float32)
    features[:, 4] = 2.5
    result = run_metrics("health", None, Examples(features, np.full(30, -1), views))
    values = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    assert result["feature_rank"] == pytest.approx(np.exp(stats.entropy(values)), rel=1e-6)
    unit = normalize(features)
    deviations = [np.std(unit[:, channel]) for channel in range(6)]
    assert result["feature_std"] == pytest.approx(np.mean(deviations) * 6**0.5, rel=1e-5)
    potentials = []
    for i, j in itertools.permutations(range(30), 2):
        potentials.append(np.exp(-2 * np.sum((unit[i] - unit[j]) ** 2)))
    assert result["uniformity"] == pytest.approx(np.log(np.mean(potentials)), rel=1e-5)
    distances = []
    for pair in views:
        first, second = normalize(pair)
        distances.append(np.sum((first - second) ** 2))
    assert result["alignment"] == pytest.approx(np.mean(distances), rel=1e-5)
    assert result["dead_dimensions"] == pytest.approx(1 / 6)


def test_health_of_known_cases(rng):
    features, views = np.ones((50, 8), np.float32), np.ones((5, 2, 8), np.float32)
    collapsed = run_metrics("health", None, Examples(features, np.full(50, -1), views))
    assert collapsed == {
        "feature_rank": pytest.approx(1),
        "dead_dimensions": 1,
        "feature_std": pytest.approx(0, abs=1e-6),
        "uniformity": pytest.approx(0),
        "alignment": 0,
    }
    features = rng.normal(size=(5000, 8)).astype(np.float32)
    spread = run_metrics("health", None, Examples(features, np.full(5000, -1)))
    assert spread["feature_rank"] == pytest.approx(8, abs=0.01)
    assert spread["feature_std"] == pytest.approx(1, abs=0.01)
    assert spread["uniformity"] < -3 and "alignment" not in spread


# What can't be evaluated


def without_labels(examples):
    return dataclasses.replace(examples, labels=np.full(len(examples), -1))


def broken(digits, defect):
    """(training examples, test examples, options) with a defect."""
    train, test = digits
    options = OPTIONS
    if defect == "no labels":
        train, test = without_labels(train), without_labels(test)
    elif defect == "one class":
        train, test = train.take(train.labels == 3), test.take(test.labels == 3)
    elif defect == "not a number":
        features = test.features.copy()
        features[5, 2] = np.nan
        test = dataclasses.replace(test, features=features)
    elif defect == "fewer than k":
        options = EvalConfig(knn_k=200, knn_temperature=0.1)
        train = train.drawn(100)
    elif defect == "one example":
        test = test.take(np.arange(1))
    return train, test, options


@pytest.mark.parametrize(
    ("defect", "reasons"),
    [
        (
            "no labels",
            {
                "probe": "no training example has a label",
                "few_labels": "no training",
                "cross_validation": "no training",
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
                "cross_validation": "fewer than two classes have two",
                "clustering": "of one class only",
            },
        ),
        (
            "not a number",
            dict.fromkeys(OF_FEATURES, "1 of 400 test examples have features that are not finite"),
        ),
        ("fewer than k", {"knn": "--knn_k=200 neighbors are to vote, and there are 100"}),
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
def test_impossible_metrics_say_so_and_the_others_are_computed(digits, defect, reasons):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in OF_FEATURES:
            arguments = broken(digits, defect)
            if name in reasons:
                with pytest.raises(NotPossible, match=reasons[name]):
                    metrics.run(name, *arguments)
            else:
                values, details = metrics.run(name, *arguments)
                assert np.isfinite(list(values.values())).all()
                assert values or details or name == "cross_validation"  # which is of few examples


def test_examples_without_label_do_not_count(digits):
    train, test = digits
    some = dataclasses.replace(test, labels=np.where(np.arange(400) < 100, test.labels, -1))
    for name in ("probe", "knn", "clustering", "retrieval"):
        assert run_metrics(name, train, some) == run_metrics(name, train, test.take(np.arange(100)))


def test_no_training_examples(digits):
    _, test = digits
    with pytest.raises(NotPossible, match="no training example has a label"):
        metrics.run("knn", None, test, OPTIONS)
    assert run_metrics("retrieval", None, test)
