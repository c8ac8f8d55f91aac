"""Evaluations against independent computations and cases with known answers."""

import numpy as np
import pytest
import tensorflow as tf

from tf_simclr import config, evaluate, report
from tf_simclr.data import sources
from tf_simclr.evaluation import EVALUATIONS, classifier, features, neighbors, probe
from tf_simclr.experiment import Experiment
from tf_simclr.objectives import OBJECTIVES

OPTIONS = config.Eval(knn_k=5, knn_temperature=0.2)


def clusters(rng, noise, count=60):
    label = np.arange(count) % 3
    return {"final_avg_pool": (np.eye(3)[label] + noise * rng.normal(size=(count, 3))).astype(np.float32), "label": label}


def slow_knn(train, test, k, temperature):
    correct = 0
    for x, label in zip(test["final_avg_pool"], test["label"], strict=True):
        bank = train["final_avg_pool"]
        cosine = bank @ x / (np.linalg.norm(bank, axis=1) * np.linalg.norm(x))
        votes = np.zeros(3)
        for i in np.argsort(-cosine)[:k]:
            votes[train["label"][i]] += np.exp(cosine[i] / temperature)
        correct += votes.argmax() == label
    return correct / len(test["label"])


@pytest.mark.parametrize("noise", [0.2, 0.6, 1.5])
def test_knn_equals_the_loop(rng, noise):
    train, test = clusters(rng, noise), clusters(rng, noise)
    assert dict(neighbors.evaluate(train, test, OPTIONS)) == {"knn_accuracy": pytest.approx(slow_knn(train, test, 5, 0.2))}


def test_knn_with_fewer_examples_than_k(rng):
    train, test = clusters(rng, 0.01, 3), clusters(rng, 0.01)
    assert dict(neighbors.evaluate(train, test, OPTIONS)) == {"knn_accuracy": 1.0}


@pytest.mark.parametrize("evaluation", [neighbors.evaluate, probe.evaluate])
def test_known_answers(rng, evaluation):
    train, test = clusters(rng, 0.05, 600), clusters(rng, 0.05, 600)
    assert list(dict(evaluation(train, test, OPTIONS)).values()) == [1.0]
    shuffled = {**test, "label": rng.permutation(test["label"])}
    assert list(dict(evaluation(train, shuffled, OPTIONS)).values()) == [pytest.approx(1 / 3, abs=0.08)]


def test_top_k(rng):
    logits, label = rng.normal(size=(50, 10)), rng.integers(0, 10, 50)
    order = np.argsort(-logits, 1)
    expected = {f"label_top_{k}_accuracy": np.mean([label[i] in order[i, :k] for i in range(50)]) for k in (1, 5)}
    assert dict(classifier.evaluate(None, {"logits_sup": logits, "label": label}, OPTIONS)) == pytest.approx(expected)


def test_a_constant_classifier_gets_nothing():
    """All logits equal, or not a number, is not a right answer."""
    label = np.zeros(4, np.int64)
    for value in (0.0, np.nan):
        result = dict(classifier.evaluate(None, {"logits_sup": np.full((4, 10), value), "label": label}, OPTIONS))
        assert result["label_top_1_accuracy"] == 0


def test_features_of_all_examples_in_order(settings):
    """Inference mode, the last partial batch included, nothing twice."""
    options = settings()
    objective = OBJECTIVES["pretrain"](options, 10)
    objective.build_variables()
    source = sources.load(options.data, "test").take(np.arange(21))
    arrays = features.extractor(objective, ("final_avg_pool", "logits_sup"), 8, tf.distribute.get_strategy())(source, "test")
    np.testing.assert_array_equal(arrays["label"], source.labels)
    images = tf.stack([objective.eval_example(tf.constant(image), 0)["image"] for image in source.records])
    outputs = objective(images)
    for name in ("final_avg_pool", "logits_sup"):
        np.testing.assert_allclose(arrays[name], outputs[name], rtol=1e-4, atol=1e-6)


def test_features_on_two_replicas_are_the_same(settings, two_replicas):
    options = settings()
    with two_replicas.scope():
        objective = OBJECTIVES["pretrain"](options, 10)
        objective.build_variables()
    source = sources.load(options.data, "test").take(np.arange(21))
    one = features.extractor(objective, ("final_avg_pool",), 8, tf.distribute.get_strategy())(source, "test")
    two = features.extractor(objective, ("final_avg_pool",), 8, two_replicas)(source, "test")
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4, atol=1e-6)


def test_table():
    result = {"eval/knn_accuracy": 0.5, "untrained/knn_accuracy": 0.25, "eval/label_top_1_accuracy": 1.0, "global_step": 3}
    table = report.results_table(result)
    assert "| k nearest neighbours of the features | 25.00% | 50.00% |" in table
    assert "| linear classifier of the network, top 1 |  | 100.00% |" in table
    assert report.results_table({"global_step": 3}) == "no labels, so no accuracies"


def test_registry_yields_pairs(rng):
    arrays = {**clusters(rng, 0.1), "logits_sup": rng.normal(size=(60, 3))}
    for evaluation in EVALUATIONS.values():
        for name, value in evaluation(arrays, arrays, OPTIONS):
            assert isinstance(name, str)
            assert 0 <= value <= 1


def test_evaluation_follows_a_training(settings, tmp_path, monkeypatch):
    """Each checkpoint that is new when it looks is evaluated once, until the last step or the end of the training."""
    options = settings(mode="eval", model_dir=str(tmp_path), train_steps=30)
    experiment = Experiment(options)
    seen, training = [], iter([True, True, True, False])
    saver = Experiment(options).checkpoints

    def save(step):
        saver.step.assign(step)
        saver.save()

    monkeypatch.setattr(evaluate, "evaluate_and_export", lambda e: seen.append(int(e.checkpoints.step)))
    monkeypatch.setattr(evaluate.time, "sleep", lambda seconds: save(seen[-1] + 10 if seen[-1] < 20 else 20))
    monkeypatch.setattr(experiment.directory, "in_training", lambda: next(training))
    save(10)
    evaluate.evaluate_run(experiment)
    assert seen == [10, 20]
    save(30)
    evaluate.evaluate_run(experiment)
    assert seen == [10, 20, 30]


def test_nothing_to_evaluate(settings):
    with pytest.raises(config.UserError, match="no checkpoint to evaluate; train first"):
        evaluate.evaluate_run(Experiment(settings(mode="eval")))
