"""95% intervals of accuracies and of their differences, in closed form.

They say what other images of the same kind might have given. Other draws of the labels, and other
seeds of the training, are not in them.
"""

import dataclasses
import math
import statistics

import numpy as np

LEVEL = 0.95
Z = statistics.NormalDist().inv_cdf((1 + LEVEL) / 2)  # 1.96


@dataclasses.dataclass(frozen=True)
class Interval:
    """A number and where it may lie as well.

    Attributes:
        value: what was measured.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float

    def reversed(self) -> "Interval":
        """The interval of the difference the other way round."""
        return Interval(-self.value, -self.high, -self.low)

    @property
    def ends(self) -> str:
        """Its ends in percentage points."""
        return f"{100 * self.low:.1f} to {100 * self.high:.1f}"

    def points(self, ends: str = " ({})") -> str:
        """A difference in percentage points.

        Args:
            ends: how its ends are written.
        """
        return f"{100 * self.value:+.1f} points{ends.format(self.ends)}"


def of_accuracy(accuracy: float, num_images: int) -> Interval:
    """The score interval of a share.

    Args:
        accuracy: share of the images that are right.
        num_images: 1 or more.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference" (1927);
    chosen by Brown, Cai and DasGupta, "Interval Estimation for a Binomial Proportion" (2001).
    """
    squared = Z**2 / num_images
    center = (accuracy + squared / 2) / (1 + squared)
    variance = accuracy * (1 - accuracy) / num_images + squared / (4 * num_images)
    half_width = Z * math.sqrt(variance) / (1 + squared)
    low = min(max(center - half_width, 0.0), accuracy)
    high = max(min(center + half_width, 1.0), accuracy)
    return Interval(accuracy, low, high)


def of_paired_difference(first: np.ndarray, second: np.ndarray) -> Interval:
    """How much more often the first is right than the second, on the same images.

    What counts are the images that one of them alone is right about. It is an adjusted Wald
    interval: one image is added to either count, which keeps its coverage where the counts are
    small.

    Args:
        first: bool [N], whether the first is right.
        second: bool [N], of the same images in the same order.

    Source: Bonett and Price, "Adjusted Wald Confidence Interval for a Difference of Binomial
    Proportions Based on Paired Data" (2012); recommended by Fagerland, Lydersen and Laake (2014).
    """
    num_images = len(first)
    first_alone = int((first & ~second).sum())
    second_alone = int((second & ~first).sum())
    first_share = (first_alone + 1) / (num_images + 2)
    second_share = (second_alone + 1) / (num_images + 2)
    center = first_share - second_share
    variance = (first_share + second_share - center**2) / (num_images + 2)
    half_width = Z * math.sqrt(variance)
    difference = (first_alone - second_alone) / num_images
    low = max(center - half_width, -1.0)
    high = min(center + half_width, 1.0)
    return Interval(difference, low, high)


def of_difference(first: Interval, second: Interval) -> Interval:
    """The difference of two accuracies as if they were of different images.

    Of the same images it is mostly too wide, since what is hard for one is often hard for the
    other.

    Args:
        first: of `of_accuracy`.
        second: likewise.

    Source: Newcombe, "Interval Estimation for the Difference Between Independent Proportions:
    Comparison of Eleven Methods" (1998), method 10.
    """
    difference = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Interval(difference, difference - below, difference + above)
