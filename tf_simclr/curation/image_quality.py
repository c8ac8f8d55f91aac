"""Images that are dark, bright, blank, blurry, or of another size or shape than the others."""

import dataclasses
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

from tf_simclr.curation.outliers import THRESHOLD, robust_scores

MEASURED_SIDE = 256  # pixels at most; sharpness is of the image made so small
DARK = 0.2  # the brightest hundredth of the pixels begins below this; 1 is white
BRIGHT = 0.9  # the darkest hundredth of the pixels ends above this
BLANK = 0.01  # the standard deviation of the gray values is below this
LEAST_SIDE = 24  # pixels; smaller images have no sharpness
SIZE_FACTOR = 4  # a side that is so much longer or shorter than usual
SHAPE_FACTOR = 2  # an aspect ratio that is so much wider or taller than usual
MEASURES = ("height", "width", "lowest", "highest", "contrast", "sharpness")


def measure(image: np.ndarray) -> np.ndarray:
    """What the checks need to know of an image.

    Args:
        image: uint8 [H, W, 3].

    Returns:
        float64 [6], in the order of MEASURES: height and width in pixels; percentiles 1 and 99 and
        the standard deviation of the gray values from 0 to 1; the energy of the Laplacian relative
        to that of the image.
    """
    height, width, _ = image.shape
    picture = Image.fromarray(image).convert("L")
    picture.thumbnail((MEASURED_SIDE, MEASURED_SIDE))
    gray = np.asarray(picture, np.float32) / 255
    lowest, highest = np.percentile(gray, (1, 99))
    contrast = gray.std()
    sharpness = ndimage.laplace(gray).std() / max(contrast, BLANK)
    return np.array([height, width, lowest, highest, contrast, sharpness], np.float64)


def _dark(measures):
    return 1 - measures["highest"], measures["highest"] < DARK


def _bright(measures):
    return measures["lowest"], measures["lowest"] > BRIGHT


def _blank(measures):
    return 1 - measures["contrast"], measures["contrast"] < BLANK


def _blurry(measures):
    """Much less sharp than the others; blank and tiny images are none of them."""
    sharpness = np.maximum(measures["sharpness"], 1e-6)
    score = -robust_scores(np.log(sharpness))
    has_details = np.minimum(measures["height"], measures["width"]) >= LEAST_SIDE
    return score, (score > THRESHOLD) & has_details & (measures["contrast"] >= BLANK)


def _odd_size(measures):
    side = np.sqrt(measures["height"] * measures["width"])
    return _times_from_usual(side, SIZE_FACTOR)


def _odd_shape(measures):
    return _times_from_usual(measures["width"] / measures["height"], SHAPE_FACTOR)


def _times_from_usual(values, factor):
    """How many times more or less than the median, and whether it is too much."""
    times = np.exp(np.abs(np.log(values / np.median(values))))
    return times, times > factor


@dataclasses.dataclass(frozen=True)
class Check:
    """A kind of bad image.

    Attributes:
        find: {name of a measure: [N]} -> (score [N], whether the image is of this kind, bool [N]).
        suggestion: what to do.
    """

    find: Callable
    suggestion: str


CHECKS = {  # by the name of the issue
    "blank": Check(_blank, "remove it: nothing is on it"),
    "dark": Check(_dark, "brighten or remove it"),
    "bright": Check(_bright, "look whether it is overexposed"),
    "blurry": Check(_blurry, "look whether it is out of focus"),
    "odd_size": Check(_odd_size, "look whether it belongs to the set"),
    "odd_shape": Check(_odd_shape, "crop it, or use --eval_crop=pad"),
}


def find(measures: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The bad images.

    Args:
        measures: float64 [N, 6], of `measure`.

    Returns:
        {issue: (positions int64 [n], the worst first; scores [n])}, for each of CHECKS.
    """
    by_name = dict(zip(MEASURES, measures.T))
    issues = {}
    for issue, check in CHECKS.items():
        score, is_bad = check.find(by_name)
        positions = np.flatnonzero(is_bad)
        positions = positions[np.argsort(-score[positions], kind="stable")]
        issues[issue] = positions, score[positions]
    return issues
