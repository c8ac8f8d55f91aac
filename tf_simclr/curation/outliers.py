"""Images that are unlike the others: far from their nearest neighbors, in one of two spaces.

By its features a network tells what it was trained to tell apart; a small one sees digits and
stripes among photos as near its photos. How large and how small the details of a picture are tells
them from photos at once, but says nothing of what is on a photo.
"""

import itertools

import numpy as np
from sklearn.neighbors import NearestNeighbors

from tf_simclr.data.cores import num_cores
from tf_simclr.evaluation.metrics import knn
from tf_simclr.evaluation.metrics.base import draw

NUM_NEIGHBORS = 10  # a handful of foreign images that are alike still has others among these
MAX_REFERENCE = 50_000  # images among which neighbors by details are looked for, a draw of more
THRESHOLD = 3.5  # robust standard deviations (Iglewicz and Hoaglin 1993)
DEVIATIONS_OF_NORMAL = 1.4826  # a standard deviation is this many median absolute deviations
# Of the spectrum of a thumbnail: limits of its bands, in periods per side, and their directions.
BANDS = (1, 2, 4, 6, 9, 13, 23)
NUM_DIRECTIONS = 4
DIRECTED = (2, 16)  # limits of what is divided by direction
LEAST_POWER = 6.5e-3  # of gray values up to 255; a flat picture has no power at all
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


def spectrum_scores(thumbnails: np.ndarray) -> np.ndarray:
    """As `scores`, by how strong large and small details are and how they are directed.

    Args:
        thumbnails: uint8 [N, S, S], gray.

    Returns:
        float64 [N], robust standard deviations.
    """
    if len(thumbnails) <= NUM_NEIGHBORS:
        return np.zeros(len(thumbnails))
    bands = spectrum(thumbnails)
    points = np.stack([robust_scores(band) for band in bands.T], 1)
    drawn = draw(len(points), MAX_REFERENCE)
    index = NearestNeighbors(n_jobs=num_cores()).fit(points[drawn])
    distance, nearest = index.kneighbors(points, NUM_NEIGHBORS + 1)
    distance, _ = knn.without_queries(distance, drawn[nearest], np.arange(len(points)))
    return robust_scores(np.log(np.maximum(distance.mean(1), SMALLEST_DISTANCE)))


def spectrum(thumbnails: np.ndarray) -> np.ndarray:
    """The logarithm of the power in bands of frequencies, and in directions.

    Args:
        thumbnails: uint8 [N, S, S], gray.

    Returns:
        float32 [N, 10].

    Source:
        Torralba and Oliva 2003, Statistics of natural image categories.
    """
    side = thumbnails.shape[1]
    frequency = np.fft.fftfreq(side) * side
    y, x = np.meshgrid(frequency, frequency, indexing="ij")
    radius, angle = np.hypot(y, x), np.arctan2(y, x)
    masks = [(radius >= low) & (radius < high) for low, high in itertools.pairwise(BANDS)]
    is_directed = (radius >= DIRECTED[0]) & (radius < DIRECTED[1])
    step = np.pi / NUM_DIRECTIONS
    direction = np.round(angle / step).astype(int) % NUM_DIRECTIONS
    masks += [is_directed & (direction == number) for number in range(NUM_DIRECTIONS)]
    window = np.outer(np.hanning(side), np.hanning(side))  # without the jump at the borders
    columns = np.empty([len(thumbnails), len(masks)], np.float32)
    for number, thumbnail in enumerate(thumbnails):
        centered = thumbnail - thumbnail.mean()
        power = np.square(np.abs(np.fft.fft2(centered * window)))
        columns[number] = [power[mask].mean() for mask in masks]
    return np.log(columns + LEAST_POWER)
