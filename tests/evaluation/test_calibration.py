"""Calibration: temperature, threshold, novelty, beside slow renderings and known answers."""

import os

import numpy as np
import pytest
from etils import epath
from scipy.special import log_softmax, softmax
from scipy.stats import binom
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from tf_simclr.errors import UserError
from tf_simclr.evaluation import calibration
from tf_simclr.evaluation.calibration import HeldOut
from tf_simclr.runs import calibration as saved_calibration
from tf_simclr.runs import files
from tf_simclr.runs.decisions import decide


def drawn_labels(rng, logits):
    """Labels as the probabilities of the logits say."""
    return (logits + rng.gumbel(size=logits.shape)).argmax(1)


def classified(rng, count, num_classes=5, scale=1.0):
    """(logits that are too large by a factor, labels)."""
    logits = rng.normal(0, 2, (count, num_classes)).astype(np.float32)
    return scale * logits, drawn_labels(rng, logits)


def fitted(rng, count=400, scale=1.0, features=None, reference=None, precision=0.8):
    logits, labels = classified(rng, count, scale=scale)
    held_out = HeldOut(logits, labels, features, f"{count} labels")
    return calibration.fit(held_out, reference, step=7, precision=precision)


@pytest.mark.parametrize("scale", [1.0, 3.0, 0.4])
def test_the_temperature_undoes_a_factor(rng, scale):
    logits, labels = classified(rng, 4000, scale=scale)
    assert calibration.fit_temperature(logits, labels) == pytest.approx(scale, rel=0.06)


def test_the_temperature_is_the_best_of_a_grid(rng):
    logits, labels = classified(rng, 200, scale=2)
    grid = np.geomspace(0.05, 20, 801)
    losses = [-np.mean(log_softmax(logits / t, axis=1)[np.arange(200), labels]) for t in grid]
    best = grid[np.argmin(losses)]
    assert calibration.fit_temperature(logits, labels) == pytest.approx(best, rel=5e-3)


def test_the_temperature_is_that_of_scikit_learn(rng):
    logits, labels = classified(rng, 300, scale=2.5)
    model = LogisticRegression().fit(logits, labels)  # only to have something with classes
    model.coef_, model.intercept_ = np.eye(5), np.zeros(5)
    try:
        other = CalibratedClassifierCV(FrozenEstimator(model), method="temperature")
        other.fit(logits, labels)
    except ValueError:
        pytest.skip("scikit-learn before 1.8 has no temperature")
    temperature = calibration.fit_temperature(logits, labels)
    expected = softmax(logits / temperature, axis=1)
    np.testing.assert_allclose(other.predict_proba(logits), expected, atol=1e-4)


def slow_threshold(confidence, correct, precision):
    """Every probability in turn: whether fewer right ones would be as likely as 5%."""
    thresholds = []
    for threshold in sorted(confidence):
        right = correct[confidence >= threshold]
        # Of a classifier that is just not precise enough, as many right ones or more.
        if binom.sf(right.sum() - 1, len(right), precision) <= 0.05:
            thresholds.append(threshold)
    return min(thresholds, default=None)


@pytest.mark.parametrize("precision", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("seed", range(4))
def test_the_threshold_is_the_smallest(precision, seed):
    rng = np.random.default_rng(seed)
    confidence = rng.random(150).round(2)  # many of them several times
    correct = rng.random(150) < 0.5 + 0.55 * confidence
    expected = slow_threshold(confidence, correct, precision)
    threshold = calibration.smallest_threshold(confidence, correct, precision)
    if expected is None:
        assert threshold is None
    else:  # below it, and above the next less probable one
        assert expected - 0.001 < threshold < expected


def test_a_threshold_takes_enough_labels():
    for count, has_threshold in ((58, False), (59, True)):
        confidence = np.linspace(0.5, 1, count)
        correct = np.ones(count, bool)
        threshold = calibration.smallest_threshold(confidence, correct, 0.95)
        assert (threshold is not None) == has_threshold
    assert "takes 59 predictions" in calibration.no_threshold(correct, 0.95)
    assert calibration.smallest_threshold(np.zeros(0), np.zeros(0, bool), 0.95) is None


def test_what_is_above_the_threshold_is_right(rng):
    logits, labels = classified(rng, 2000, scale=3)
    held_out = HeldOut(logits, labels, None, "labels")
    fit = calibration.fit(held_out, None, step=1, precision=0.9)
    logits, labels = classified(rng, 5000, scale=3)
    decisions = decide(logits, np.zeros([5000, 2], np.float32), fit)
    is_right = decisions.classes[:, 0] == labels
    assert 0.1 < decisions.unsure.mean() < 0.9
    assert is_right[~decisions.unsure].mean() > 0.89
    assert is_right[decisions.unsure].mean() < 0.8
    assert calibration.calibration_error(softmax(logits, axis=1), labels) > 0.1
    assert calibration.calibration_error(fit.probabilities(logits), labels) < 0.03


def test_cross_fitting_is_honest(rng):
    """Each image's temperature is fitted without it."""
    logits, labels = classified(rng, 50, scale=2)
    probabilities = calibration.cross_fitted_probabilities(logits, labels)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    before = probabilities[0].copy()
    labels[0] = logits[0].argmin()  # which changes what the others get
    changed = calibration.cross_fitted_probabilities(logits, labels)
    np.testing.assert_array_equal(changed[0], before)
    assert np.abs(changed - probabilities).max() > 1e-3


def test_too_few_labels_are_said(rng):
    fit = fitted(rng, count=2)
    assert (fit.temperature, fit.threshold, fit.quantiles) == (None, None, None)
    assert any("2 held-out labels, 30 are needed" in note for note in fit.notes)
    assert any("no threshold" in note for note in fit.notes)
    logits = rng.normal(size=(3, 5)).astype(np.float32)
    np.testing.assert_allclose(fit.probabilities(logits), softmax(logits, axis=1), rtol=1e-5)
    empty = HeldOut(np.zeros([0, 5], np.float32), np.zeros(0, int), None, "none")
    assert calibration.fit(empty, None, step=1, precision=0.9).temperature is None


def test_no_mistake_says_nothing_about_mistakes():
    logits = np.eye(5, dtype=np.float32)[np.arange(40) % 5]
    held_out = HeldOut(logits, np.arange(40) % 5, None, "labels")
    fit = calibration.fit(held_out, None, step=1, precision=0.9)
    assert fit.temperature is None and "right about all 40" in fit.notes[0]
    assert fit.threshold == pytest.approx(softmax(logits, axis=1).max(), abs=2e-4)


def test_not_finite(rng):
    logits, labels = classified(rng, 40)
    logits[3] = np.nan
    features = np.full([40, 3], np.nan, np.float32)
    held_out = HeldOut(logits, labels, features, "labels")
    fit = calibration.fit(held_out, features, step=1, precision=0.9)
    assert fit.temperature is None and fit.quantiles is None
    assert sum("not finite" in note for note in fit.notes) == 2


def slow_novelty(features, held_out, reference):
    """The share of held-out images that are nearer to the reference."""

    def distance(image):
        unit = image / np.linalg.norm(image)
        others = reference / np.linalg.norm(reference, axis=1, keepdims=True)
        return np.linalg.norm(unit - others, axis=1).min()

    usual = np.array([distance(image) for image in held_out])
    return np.array([np.mean(usual < distance(image)) for image in features])


def test_novelty(rng):
    center = np.eye(8, dtype=np.float32)[0]
    cluster = center + rng.normal(0, 0.1, (900, 8)).astype(np.float32)
    reference, held_out, others = np.split(cluster, 3)
    fit = fitted(rng, features=held_out, reference=reference)
    novelty = fit.novelty(3 * others)  # their length does not matter
    np.testing.assert_allclose(novelty, slow_novelty(others, held_out, reference), atol=0.011)
    assert np.mean(novelty > saved_calibration.UNLIKE_ANYTHING) < 0.05
    far = -center + rng.normal(0, 0.1, (50, 8)).astype(np.float32)
    np.testing.assert_array_equal(fit.novelty(far), 1)
    np.testing.assert_array_equal(fit.novelty(reference[:5]), 0)


def test_distances_that_are_all_the_same(rng):
    reference = np.ones([40, 3], np.float32)
    fit = fitted(rng, features=reference, reference=reference)
    features = np.array([[1, 1, 1], [1, 1, 0.5]], np.float32)
    np.testing.assert_array_equal(fit.novelty(features), [0, 1])


def test_decisions():
    logits = np.log(np.array([[0.1, 0.6, 0.3], [0.25, 0.5, 0.25]], np.float32))
    decisions = decide(logits, np.zeros([2, 1], np.float32), None, top_k=3)
    np.testing.assert_array_equal(decisions.classes, [[1, 2, 0], [1, 0, 2]])
    np.testing.assert_allclose(decisions.probabilities[0], [0.6, 0.3, 0.1], rtol=1e-5)
    np.testing.assert_allclose(decisions.margin, [0.3, 0.25], rtol=1e-5)
    assert decisions.unsure is None and decisions.novelty is None
    single = decide(np.ones([2, 1], np.float32), np.zeros([2, 1], np.float32), None)
    np.testing.assert_array_equal(single.margin, [1, 1])


def test_written_and_read(rng, tmp_path, log):
    directory = epath.Path(tmp_path)
    features = rng.normal(size=(60, 4)).astype(np.float32)
    fit = fitted(rng, features=features, reference=features[:20])
    saved_calibration.write(directory, fit)
    read = saved_calibration.of_weights(directory, 7)
    assert read.fingerprint == fit.fingerprint and read.lines == fit.lines
    np.testing.assert_array_equal(read.novelty(features), fit.novelty(features))
    assert saved_calibration.of_weights(directory, 8) is None
    assert "is of step 7 and the weights are of step 8" in log.text
    assert saved_calibration.read(directory / "nowhere") is None
    arrays = directory / files.CALIBRATION_ARRAYS
    for damaged in (b"nothing", arrays.read_bytes()[:-40]):
        arrays.write_bytes(damaged)
        with pytest.raises(UserError, match=r"calibration.npz: the calibration can't be read"):
            saved_calibration.read(directory)
    (directory / files.CALIBRATION).write_text("{}")
    with pytest.raises(UserError, match="--mode=eval of the run writes it again"):
        saved_calibration.read(directory)


def test_two_processes_write_at_once(rng, tmp_path, monkeypatch):
    """As an evaluation beside the training does."""
    directory, fit = epath.Path(tmp_path), fitted(rng)
    savez = np.savez

    def write_meanwhile(file, **arrays):
        savez(file, **arrays)
        with monkeypatch.context() as patch:
            patch.setattr(np, "savez", savez)
            patch.setattr(os, "getpid", lambda: -1)
            saved_calibration.write(directory, fit)

    monkeypatch.setattr(np, "savez", write_meanwhile)
    saved_calibration.write(directory, fit)
    assert saved_calibration.read(directory).fingerprint == fit.fingerprint
    names = {path.name for path in directory.iterdir()}
    assert names == {files.CALIBRATION, files.CALIBRATION_ARRAYS}
