"""Calibration of a classifier on held-out labels: arrays in, numbers out."""

import dataclasses

import numpy as np
from scipy import optimize, stats
from scipy.special import log_softmax, softmax
from sklearn.model_selection import KFold

from tf_simclr.evaluation.metrics import classifier
from tf_simclr.runs.calibration import (
    NUM_INTERVALS,
    Calibration,
    at_unit_length,
    nearest_distances,
)

MIN_LABELS = 30  # to fit the temperature; the error of log T is then about 0.2
MIN_IMAGES = 30  # whose distances say what is usual
MAX_REFERENCE = 1000  # training images that others are compared with
TEMPERATURES = (0.05, 20.0)  # between which the temperature is looked for
NUM_FOLDS = 5  # of the cross-fitted calibration error
CONFIDENCE_LEVEL = 0.95  # of the bound of the precision
ROUNDING = 1e-4  # how far the threshold is below a probability, so that rounding decides nothing
NO_THRESHOLD = "no threshold"  # how the note begins that says so


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """What a network makes of images that it was not trained on.

    Attributes:
        logits: float32 [N, num_classes].
        labels: int64 [N]; without any label an empty array.
        features: float32 [M, C], also of images without a label; None: not computed.
        labels_of: which labels these are, in words.
    """

    logits: np.ndarray
    labels: np.ndarray
    features: np.ndarray | None
    labels_of: str


def fit(
    held_out: HeldOut, reference: np.ndarray | None, *, step: int, precision: float
) -> Calibration:
    """Fits all that a calibration has; what can't be fitted is said in its notes.

    Args:
        held_out: images that the network was not trained on.
        reference: float32 [R, C], features of training images, or None.
        step: of the training.
        precision: wanted of the predictions above the threshold.
    """
    logits, labels = held_out.logits, held_out.labels
    temperature, note = _try_temperature(logits, labels)
    notes = [note]
    probabilities = softmax(logits / np.float32(temperature or 1), axis=1)
    confidence = probabilities.max(1, initial=0)
    correct = logits.argmax(1) == labels
    threshold = smallest_threshold(confidence, correct, precision)
    if threshold is None:
        notes.append(no_threshold(correct, precision))
    num_images, quantiles, note = _try_quantiles(held_out.features, reference)
    notes.append(note)
    return Calibration(
        step=step,
        labels_of=held_out.labels_of,
        num_labels=len(labels),
        temperature=temperature,
        precision=precision,
        threshold=threshold,
        num_images=num_images,
        quantiles=quantiles,
        notes=tuple(filter(None, notes)),
        confidence=confidence,
        correct=correct,
        reference=None if quantiles is None else at_unit_length(reference),
    )


def _try_temperature(logits, labels):
    """(temperature or None, why there is none)."""
    if len(labels) < MIN_LABELS:
        return None, f"temperature 1: {len(labels)} held-out labels, {MIN_LABELS} are needed"
    if not np.isfinite(logits).all():
        return None, "temperature 1: the network gives logits that are not finite"
    if (logits.argmax(1) == labels).all():
        return None, (
            f"temperature 1: the classifier is right about all {len(labels)} held-out labels, so "
            "nothing says how often it is wrong"
        )
    return fit_temperature(logits, labels), ""


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T at which softmax(logits / T) has the least negative log-likelihood.

    It is that of scikit-learn's `CalibratedClassifierCV(method="temperature")`, which is in 1.8
    and later.

    Args:
        logits: float [N, num_classes].
        labels: int64 [N].

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.
    """
    logits = logits.astype(np.float64)
    true_classes = labels[:, None]

    def negative_log_likelihood(log_temperature):
        log_probabilities = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -np.take_along_axis(log_probabilities, true_classes, 1).mean()

    bounds = np.log(TEMPERATURES)
    fitted = optimize.minimize_scalar(negative_log_likelihood, bounds=bounds, method="bounded")
    return float(np.exp(fitted.x))


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The expected calibration error of probabilities [N, num_classes], see `classifier`."""
    correct = probabilities.argmax(1) == labels
    bins = classifier.reliability(probabilities.max(1), correct)
    return classifier.calibration_error(bins)


def calibration_error_by_chance(probabilities: np.ndarray) -> float:
    """What of it chance makes of such probabilities [N, num_classes], see `classifier`."""
    return classifier.calibration_error_by_chance(probabilities.max(1))


def cross_fitted_probabilities(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Calibrated probabilities, each with the temperature of the other folds.

    Their calibration error is as honest as on other images.

    Args:
        logits: float [N, num_classes].
        labels: int64 [N].

    Returns:
        float [N, num_classes].
    """
    probabilities = np.empty_like(logits)
    folds = KFold(NUM_FOLDS, shuffle=True, random_state=0)
    for others, fold in folds.split(logits):
        temperature = fit_temperature(logits[others], labels[others])
        probabilities[fold] = softmax(logits[fold] / np.float32(temperature), axis=1)
    return probabilities


def smallest_threshold(
    confidence: np.ndarray, correct: np.ndarray, precision: float
) -> float | None:
    """The least probability from which on predictions are right as often as wanted.

    Of few examples a high precision may be luck. So the lower end of its one-sided 95% interval
    has to reach `precision`.

    Args:
        confidence: float [N], the probability of the predicted class.
        correct: bool [N].
        precision: wanted, below 1.

    Returns:
        A little less than one of `confidence`; None if there is none.

    Source: Clopper and Pearson 1934, "The use of confidence or fiducial limits".
    """
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence = confidence[order]
    num_correct = np.cumsum(correct[order])
    num_above = np.arange(1, len(order) + 1)
    # Predictions of the same probability are above the threshold together.
    gaps = -np.diff(sorted_confidence, append=-1)[: len(order)]  # to the next less probable one
    reaches = (gaps > 0) & (lower_bound(num_correct, num_above) >= precision)
    if not reaches.any():
        return None
    least = np.flatnonzero(reaches)[-1]
    return float(sorted_confidence[least] - min(gaps[least] / 2, ROUNDING))


def lower_bound(num_correct: np.ndarray, total: np.ndarray) -> np.ndarray:
    """The lower ends of the exact one-sided 95% intervals of `num_correct` of `total`."""
    bounds = stats.beta.ppf(1 - CONFIDENCE_LEVEL, num_correct, total - num_correct + 1)
    return np.where(num_correct > 0, bounds, 0)


def no_threshold(correct: np.ndarray, precision: float) -> str:
    """Why there is no threshold."""
    needed = int(np.ceil(np.log(1 - CONFIDENCE_LEVEL) / np.log(precision)))
    return (
        f"{NO_THRESHOLD}: a precision of {precision:.4g} takes {needed} predictions without a "
        f"mistake, or more with some, among the surest of {len(correct)} held-out labels"
    )


def _try_quantiles(features, reference):
    """(number of images, quantiles of their distances or None, why there are none)."""
    if features is None or reference is None or not len(reference):
        return 0, None, "no novelty: there are no features of final_avg_pool (--eval_layers)"
    if len(features) < MIN_IMAGES:
        note = f"no novelty: {len(features)} held-out images, {MIN_IMAGES} are needed"
        return len(features), None, note
    if not (np.isfinite(features).all() and np.isfinite(reference).all()):
        return len(features), None, "no novelty: the network gives features that are not finite"
    distances = nearest_distances(features, at_unit_length(reference))
    quantiles = np.quantile(distances, np.linspace(0, 1, NUM_INTERVALS + 1))
    return len(features), tuple(quantiles.tolist()), ""
