"""Images that are unlike the others: those far from their nearest neighbors."""

import numpy as np

NUM_NEIGHBORS = 10  # a handful of foreign images that are alike still has others among these
THRESHOLD = 3.5  # robust standard deviations (Iglewicz and Hoaglin 1993)
DEVIATIONS_OF_NORMAL = 1.4826  # a standard deviation is this many median absolute deviations
SMALLEST_DISTANCE = 1e-3  # between features of length 1; less is the same image


def robust_scores(values: np.ndarray) -> np.ndarray:
    """How many robust standard deviations each value is from the median.

    Args:
        values: [N].

    Returns:
        float64 [N]; zeros where more than half of the values are equal, and for no values.

    Source:
        Iglewicz and Hoaglin 1993, How to detect and handle outliers, the modified Z-score.
    """
    if not len(values):
        return np.zeros(0)
    deviations = np.asarray(values, np.float64) - np.median(values)
    scale = DEVIATIONS_OF_NORMAL * np.median(np.abs(deviations))
    return deviations / scale if scale else np.zeros(len(values))


def scores(similarity: np.ndarray) -> np.ndarray:
    """How unlike its nearest neighbors each image is, against what is usual in this set.

    The mean distance to the neighbors (Ramaswamy et al. 2000, Angiulli and Pizzuti 2002) is
    skewed, its logarithm is not.

    Args:
        similarity: [N, k], cosines to the k nearest other images.

    Returns:
        float64 [N], robust standard deviations; above THRESHOLD an image is an outlier.
    """
    if not similarity.size:
        return np.zeros(len(similarity))
    known = np.maximum(similarity, -1)  # -inf where cells had fewer neighbors: as far as can be
    distance = np.sqrt(np.maximum(2 - 2 * known, 0)).mean(1)
    return robust_scores(np.log(np.maximum(distance, SMALLEST_DISTANCE)))
