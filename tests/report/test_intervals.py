"""Intervals of accuracies and differences: known values, and how often they hold the truth."""

import json

import numpy as np
import pytest
from scipy.stats import binomtest

from tf_simclr.report import image_bits, intervals

NUM_TRIALS = 1500


@pytest.mark.parametrize("right, total", [(0, 1), (1, 1), (81, 100), (360, 360), (3, 17)])
def test_accuracy_equals_scipy(right, total):
    interval = intervals.of_accuracy(right / total, total)
    expected = binomtest(right, total).proportion_ci(method="wilson")
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_paired_difference_of_a_published_example():
    """ci.prop.ps(.05, 12, 4, 26, 6) of the R package statpsych, by one of the authors."""
    first = np.repeat([False, False, True, True], [12, 4, 26, 6])
    second = np.repeat([False, True, False, True], [12, 4, 26, 6])
    interval = intervals.of_paired_difference(first, second)
    assert interval.value == pytest.approx(22 / 48)
    assert (interval.low, interval.high) == pytest.approx((0.2548067, 0.6251933), abs=1e-7)


def test_unpaired_difference_of_a_published_example():
    """Newcombe (1998), table II: 56/70 and 48/80 by method 10."""
    first, second = intervals.of_accuracy(56 / 70, 70), intervals.of_accuracy(48 / 80, 80)
    interval = intervals.of_difference(first, second)
    assert (interval.low, interval.high) == pytest.approx((0.0524, 0.3339), abs=1e-4)


def draws(num_images, both, first_alone, second_alone):
    """Pairs of bool [N] of independent images."""
    rng = np.random.default_rng(0)
    shares = [both, first_alone, second_alone, 1 - both - first_alone - second_alone]
    for _ in range(NUM_TRIALS):
        kind = rng.choice(4, num_images, p=shares)
        yield (kind == 0) | (kind == 1), (kind == 0) | (kind == 2)


@pytest.mark.parametrize(
    "num_images, shares",
    [(50, (0.6, 0.1, 0.1)), (360, (0.75, 0.1, 0.03)), (360, (0.9, 0.02, 0.02))],
)
def test_coverage(num_images, shares):
    _, first_alone, second_alone = shares
    truth = first_alone - second_alone
    num_paired = num_unpaired = 0
    for first, second in draws(num_images, *shares):
        paired = intervals.of_paired_difference(first, second)
        num_paired += paired.low <= truth <= paired.high
        accuracies = [intervals.of_accuracy(each.mean(), num_images) for each in (first, second)]
        unpaired = intervals.of_difference(*accuracies)
        num_unpaired += unpaired.low <= truth <= unpaired.high
    assert 0.935 <= num_paired / NUM_TRIALS <= 0.985
    assert num_unpaired >= num_paired  # of the same images it is too wide, never too narrow


@pytest.mark.parametrize("count", [1, 7, 8, 9, 360])
def test_bits_come_back(count):
    values = np.random.default_rng(count).random(count) < 0.5
    saved = json.loads(json.dumps(image_bits.pack(values, np.zeros(count, int))))
    assert (image_bits.unpack(saved) == values).all()


def test_many_images_stay_small():
    count = 3 * image_bits.MAX_IMAGES + 1
    values = np.arange(count) % 5 == 0
    saved = image_bits.pack(values, np.zeros(count, int))
    kept = image_bits.unpack(saved)
    assert len(json.dumps(saved)) < 17_000
    assert (kept == values[image_bits.kept_positions(count)]).all()
    assert len(kept) == image_bits.MAX_IMAGES
    assert np.unique(image_bits.kept_positions(count)).size == image_bits.MAX_IMAGES


@pytest.mark.parametrize("bits", ["", "?", "AAAA", "<b>"])
def test_damaged_bits_are_not_known(bits):
    assert image_bits.unpack({"images": 4, "labels": "", "bits": bits}) is None


def test_other_labels_have_another_digest():
    values = np.ones(3, bool)
    digests = {image_bits.pack(values, labels)["labels"] for labels in ([0, 1, 2], [0, 2, 1])}
    assert len(digests) == 2
