"""The law of accuracies with few labels, and how many labels it asks for."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from tf_simclr.evaluation.metrics import label_law

LABELS = np.array([10, 20, 50, 100, 200])
NUM_TESTED = 10_000


def law_error(labels, factor=1.5, exponent=0.6, offset=0.0):
    return factor * np.asarray(labels, float) ** -exponent + offset


def draws_around(errors, spread, rng, count=5):
    """Accuracies of draws; their spread falls with the error."""
    noise = spread * errors[:, None] * rng.standard_normal((len(errors), count))
    return (1 - errors[:, None] - noise).tolist()


def answer(errors, spread=0.0, seed=0, labels=LABELS, num_tested=NUM_TESTED):
    draws = draws_around(np.asarray(errors), spread, np.random.default_rng(seed))
    return label_law.answer(labels.tolist(), draws, num_tested)


def test_a_law_is_recovered():
    result = answer(law_error(LABELS))
    assert result["reason"] is None
    law = result["law"]
    assert law["factor"] == pytest.approx(1.5, rel=0.02)
    assert law["exponent"] == pytest.approx(0.6, abs=0.01)
    assert law["offset"] == pytest.approx(0, abs=0.001)
    assert law_error(200) == pytest.approx(0.0624, abs=1e-4)
    in_95, in_99 = result["targets"]  # 90% is reached with 200 labels
    assert in_95["accuracy"] == 0.95
    assert in_95["labels"] == pytest.approx((1.5 / 0.05) ** (1 / 0.6), rel=0.03)
    assert 200 <= in_95["low"] < in_95["labels"] < in_95["high"] < 500
    assert in_99 == {"accuracy": 0.99, "labels": None, "low": None, "high": None}
    assert result["labels"] == 200 and result["limit"] == 1000


def test_an_offset_is_recovered_from_many_points():
    labels = np.geomspace(10, 100_000, 9).round().astype(int)
    result = answer(law_error(labels, 2.0, 0.7, 0.2), labels=labels, num_tested=10**6)
    law = result["law"]
    assert law["exponent"] == pytest.approx(0.7, abs=0.02)
    assert law["factor"] == pytest.approx(2.0, rel=0.05)
    assert law["offset"] == pytest.approx(0.2, abs=0.003)
    assert 0.8 < law["ceiling"] < 0.82
    assert [target["labels"] for target in result["targets"]] == [None] * 3


def test_the_interval_has_the_truth():
    """Of an interval of 80% on 60 noisy curves; the noise of the test images is not in them."""
    truth = (1.5 / 0.05) ** (1 / 0.6)
    hits, estimates = [], []
    for seed in range(60):
        result = answer(law_error(LABELS), spread=0.08, seed=seed, num_tested=2000)
        if result["reason"] is None:
            target = next(each for each in result["targets"] if each["accuracy"] == 0.95)
            hits.append(target["low"] <= truth <= (target["high"] or np.inf))
            estimates.append(target["labels"] or np.inf)
    assert len(hits) >= 50
    assert np.mean(hits) >= 0.75
    assert np.median(estimates) == pytest.approx(truth, rel=0.15)


def slow_fit(labels, errors, deviations, offset_scale):
    """The best of all exponents, each solved by scipy's non-negative least squares."""
    candidates = []
    for exponent in label_law.EXPONENTS:
        columns = np.stack([labels**-exponent, np.ones(len(labels))], 1) / deviations[:, None]
        prior = [0, 1 / (label_law.OFFSET_SCALE * offset_scale)]
        (factor, offset), residual = nnls(
            np.concatenate([columns, [prior]]), np.append(errors / deviations, 0)
        )
        candidates.append((residual, factor, exponent, offset))
    return min(candidates)


@hypothesis_settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=6))
def test_the_fit_equals_scipy(errors):
    """Also of curves that are no law at all, where a parameter ends at 0."""
    errors = np.array(errors)
    labels = np.array([10.0, 20, 50, 100, 200, 400])[: len(errors)]
    curve = label_law.Curve(labels, [np.array([error]) for error in errors], 100)
    laws = label_law.fit(curve)
    deviations = np.hypot(curve.standard_errors(), curve.deviations(errors) * errors)
    residual, *_ = slow_fit(labels, errors, deviations, errors[-1])
    factor, exponent, offset = laws.factor[0], laws.exponent[0], laws.offset[0]
    assert factor >= 0 and offset >= 0
    misfit = (factor * labels**-exponent + offset - errors) / deviations
    prior = offset / (label_law.OFFSET_SCALE * errors[-1])
    assert np.hypot(np.linalg.norm(misfit), prior) == pytest.approx(residual, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ([0.5, 0.3], "there are labels for 2 points of the curve, and a law takes 4"),
        ([0.5], "there are labels for 1 point of the curve"),
        (
            [0.5] * 5,
            "the accuracy does not clearly rise with the labels, from 50.0% with 10 to 50.0% with",
        ),
        (
            [0.3, 0.35, 0.4, 0.42, 0.5],
            "does not clearly rise with the labels, from 70.0% with 10 to 50.0%",
        ),
        ([0.6, 0.5, 0.4, 0.35, 0.1], "the curve up to 100 labels foretells 6"),
        ([0.6, 0.4, 0.25, 0.15, 0.3], "with 200, and 70.0% was measured"),
    ],
)
def test_where_no_law_is_to_be_trusted(errors, reason):
    result = answer(errors, labels=LABELS[: len(errors)])
    assert reason in result["reason"]
    assert "law" not in result and result["band"] == []
    unknown = {"labels": None, "low": None, "high": None}
    for target in result["targets"]:
        assert {name: target[name] for name in unknown} == unknown


def test_a_curve_that_levels_off():
    """More labels alone won't do, and no number of them is given."""
    labels = np.array([10, 20, 50, 100, 200, 500, 1000])
    result = answer(law_error(labels, 20, 1.5, 0.2), labels=labels)
    assert result["law"]["ceiling"] < 0.85
    assert [target["labels"] for target in result["targets"]] == [None] * 3


def test_a_perfect_curve():
    result = answer([0.2, 0.05, 0, 0, 0], num_tested=100)
    assert result["targets"] == []
    assert all(np.isfinite(point["accuracy"]) for point in result["band"])


def test_one_draw_with_all_labels():
    """The last point has one draw; it is taken to be as uncertain as one draw before it."""
    errors = law_error(LABELS)
    draws = draws_around(errors, 0.05, np.random.default_rng(0))
    curve = label_law.Curve(
        LABELS.astype(float), [1 - np.array(each) for each in [*draws[:-1], draws[-1][:1]]], 1000
    )
    uncertainties = curve.standard_errors()
    assert uncertainties[-1] == pytest.approx(uncertainties[-2] * np.sqrt(5))
    assert np.std(curve.resampled(500)[:, -1]) > uncertainties[-1]
    result = label_law.answer(LABELS.tolist(), [*draws[:-1], draws[-1][:1]], 1000)
    assert result["law"]["exponent"] == pytest.approx(0.6, abs=0.15)


def test_an_answer_can_be_saved_and_is_the_same_again():
    first, second = (answer(law_error(LABELS), spread=0.1) for _ in range(2))
    assert first == second
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    accuracies = [point["accuracy"] for point in first["band"]]
    assert all(before < after for before, after in itertools.pairwise(accuracies))
    assert all(point["low"] <= point["accuracy"] <= point["high"] for point in first["band"])
    assert [point["labels"] for point in first["band"]] == [*LABELS, 500, 1000]


def test_what_lies_beyond_the_limit():
    """Five times the labels measured are as far as the law is asked."""
    result = answer(law_error(LABELS, 1.5, 0.3), spread=0.02)
    for target in result["targets"]:
        for name in ("labels", "low", "high"):
            assert target[name] is None or 200 <= target[name] <= 1000
    assert result["targets"][0]["labels"] is None
