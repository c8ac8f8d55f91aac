"""Labels that are probably wrong (confident learning), and classes that overlap.

Source: Northcutt, Jiang and Chuang 2021, Confident learning: estimating uncertainty in dataset
labels. `confident_learning` gives the same images as cleanlab 2.9, `find_label_issues(filter_by=
"confident_learning")`, in the same order. With a weak network these are nearly half of all images;
`find` keeps those of which at least every second one should be wrong.
"""

import dataclasses

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tf_simclr.evaluation.metrics.base import draw

NUM_FOLDS = 5
MAX_FITTED = 20_000  # images that the classifier of a fold is fitted to
# Of the logistic regression on standardized features: C is this divided by the number of images,
# between the limits.
REGULARIZATION = 100
LIMITS_OF_C = (0.01, 1.0)
MAX_ITERATIONS = 200
# What is added to the comparison with thresholds in cleanlab, too, against rounding.
ROUNDING = 1e-6
# Share of labels that is wrong where nothing is known; it was 3.4% in the mean of ten well-known
# test sets (Northcutt, Athalye and Mueller 2021).
EXPECTED_WRONG = 0.05
OVERLAP = 0.5  # from here on two classes overlap


@dataclasses.dataclass(frozen=True)
class DoubtfulLabels:
    """Labels that are probably wrong, the most doubtful first.

    Attributes:
        positions: int64 [M].
        suggested: int64 [M], the classes that the images probably are of.
        confidence: float64 [M], probability of the labels that they have (self-confidence).
    """

    positions: np.ndarray
    suggested: np.ndarray
    confidence: np.ndarray


def find(features: np.ndarray, labels: np.ndarray) -> DoubtfulLabels:
    """The labels that are probably wrong, by the features of the images.

    Classes with fewer than NUM_FOLDS images are left out, and so is everything where there are
    fewer than two classes.

    Args:
        features: [N, C].
        labels: int64 [N], -1 where unknown.
    """
    counts = np.bincount(labels[labels >= 0])
    classes = np.flatnonzero(counts >= NUM_FOLDS)
    used = np.flatnonzero(np.isin(labels, classes))
    if len(classes) < 2:
        return DoubtfulLabels(used[:0], used[:0], np.zeros(0))
    numbers = np.searchsorted(classes, labels[used])  # 0, 1, ... of the classes that are left
    probabilities = out_of_sample_probabilities(features[used], numbers)
    doubtful = confident_learning(probabilities, numbers)
    is_kept = doubtful.confidence <= _even_chance(len(classes))
    return DoubtfulLabels(
        used[doubtful.positions[is_kept]],
        classes[doubtful.suggested[is_kept]],
        doubtful.confidence[is_kept],
    )


def _even_chance(num_classes):
    """The probability of its label at which an image is as probably of another class.

    A wrong label is any of the other classes, so that an image that is surely of another class has
    this one with probability EXPECTED_WRONG/(K - 1): at twice as much half the labels are wrong.
    """
    return 2 * EXPECTED_WRONG / (num_classes - 1)


def out_of_sample_probabilities(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each image's class probabilities by a classifier that has not seen it (cross-validation).

    Args:
        features: [N, C].
        labels: int64 [N], 0 to K - 1, each at least NUM_FOLDS times.

    Returns:
        float64 [N, K].
    """
    probabilities = np.zeros([len(labels), labels.max() + 1])
    strength = np.clip(REGULARIZATION / len(labels), *LIMITS_OF_C)
    folds = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=0)
    for train, test in folds.split(features, labels):
        fitted = train[draw(len(train), MAX_FITTED)]
        regression = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS)
        classifier = make_pipeline(StandardScaler(), regression)
        classifier.fit(features[fitted], labels[fitted])
        classes = classifier.classes_  # a draw may miss a rare one
        probabilities[np.ix_(test, classes)] = classifier.predict_proba(features[test])
    return probabilities


def confident_learning(probabilities: np.ndarray, labels: np.ndarray) -> DoubtfulLabels:
    """The labels off the diagonal of the confident joint, by self-confidence.

    An image is confidently of a class whose probability reaches the mean that it has on images with
    this label.

    Args:
        probabilities: [N, K], out of sample.
        labels: int64 [N], 0 to K - 1, each occurring.
    """
    num_classes = probabilities.shape[1]
    confidence = probabilities[np.arange(len(labels)), labels]
    # As there, mean by mean: sums in another order would round differently.
    means = [confidence[labels == label].mean() for label in range(num_classes)]
    thresholds = np.array(means)
    is_confident = probabilities >= thresholds - ROUNDING
    # Of several classes the most probable one of all, as there.
    only_confident = is_confident.argmax(1)
    most_probable = probabilities.argmax(1)
    is_several = is_confident.sum(1) > 1
    suggested = np.where(is_several, most_probable, only_confident)
    is_doubtful = is_confident.any(1) & (suggested != labels) & (most_probable != labels)
    positions = np.flatnonzero(is_doubtful)
    positions = positions[np.argsort(confidence[positions], kind="stable")]
    return DoubtfulLabels(positions, suggested[positions], confidence[positions])


def overlaps(labels: np.ndarray, neighbors: np.ndarray) -> list[tuple[int, int, float]]:
    """Pairs of classes whose images are among one another.

    The overlap of two classes is how much more often than by chance their images are neighbors of
    one another, against how much more often images are neighbors in the same class: 0 where the
    classes lie apart, 1 where no neighbor tells them from one another.

    Args:
        labels: int64 [N], -1 where unknown.
        neighbors: int64 [N, k], positions of the nearest other images; negative: there is none.

    Returns:
        [(class, class, overlap)] of overlaps of at least OVERLAP, the largest first.
    """
    num_classes = int(labels.max(initial=-1)) + 1
    image, column = np.nonzero((neighbors >= 0) & (labels[:, None] >= 0))
    first, second = labels[image], labels[neighbors[image, column]]
    is_known = second >= 0
    cells = first[is_known] * num_classes + second[is_known]
    counts = np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
    class_sizes = np.bincount(labels[labels >= 0], minlength=num_classes)
    expected = np.maximum(counts.sum(1, keepdims=True) * class_sizes, 1)
    rates = counts / expected
    within = np.maximum(rates.diagonal(), np.finfo(float).tiny)
    overlap = np.sqrt(rates / within[:, None] * (rates.T / within))
    pairs = []
    for low, high in np.argwhere(np.triu(overlap >= OVERLAP, 1)).tolist():
        pairs.append((low, high, float(overlap[low, high])))
    return sorted(pairs, key=lambda pair: -pair[2])
