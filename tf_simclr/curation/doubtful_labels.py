"""Labels that are probably wrong, and classes that overlap.

Images whose label is improbable to a classifier that has not seen them, as in cleanlab's
`low_self_confidence`; how many of them are listed follows from how often labels are improbable.
"""

import dataclasses

import numpy as np
from scipy.sparse import csr_array
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tf_simclr.evaluation.metrics.base import by_blocks, draw

NUM_FOLDS = 5
MAX_FITTED = 20_000  # images that the classifier of a fold is fitted to
MAX_COUNTED = 20_000  # images that say how often labels of a probability occur
# Of the logistic regression on standardized features: C is this divided by the number of images,
# between the limits.
REGULARIZATION = 100
LIMITS_OF_C = (0.01, 1.0)
MAX_ITERATIONS = 200
# Share of wrong labels, where little is known; it was 3.4% in the mean of ten well-known test sets
# (Northcutt, Athalye and Mueller 2021).
EXPECTED_WRONG = 0.05
PRIOR_STRENGTH = 200  # that share counts as much as so many images and classes that were looked at
SURELY_NOT = 0.2  # share of all images and classes, those of which an image surely is not
LEAST_PRECISION = 0.5  # share of the listed labels that should be wrong
OVERLAP = 0.5  # from here on two classes overlap
LEAST_RATE = 1e-6  # of neighbors in the same class, where there are none


@dataclasses.dataclass(frozen=True)
class DoubtfulLabels:
    """Labels that are probably wrong, the most doubtful first.

    Attributes:
        positions: int64 [M].
        suggested: int64 [M], the classes that the images probably are of.
        confidence: float32 [M], probability of the labels that they have (self-confidence,
            Northcutt, Jiang and Chuang 2021, Confident learning).
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
    confidence = probabilities[np.arange(len(used)), numbers]
    order = np.argsort(confidence, kind="stable")
    chance_of_error = probability_of_error(probabilities, numbers)[order]
    precision = np.cumsum(chance_of_error) / np.arange(1, len(used) + 1)
    num_listed = np.count_nonzero(precision >= LEAST_PRECISION)  # it falls along the order
    listed = order[:num_listed]
    most_probable = probabilities.argmax(1)
    # A label that is the most probable class of all is not doubted, however improbable it is.
    listed = listed[most_probable[listed] != numbers[listed]]
    return DoubtfulLabels(used[listed], classes[most_probable[listed]], confidence[listed])


def probability_of_error(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How probably each label is wrong, where each other class is as probable a mistake.

    A label that surely is not the class of its image is a mistake, which says how often these
    happen: in a share e of images and other classes. Of the labels that occur in a share f of the
    images to which the classifier gives them this probability, e/f are then wrong. Both shares are
    those of a draw of at most MAX_COUNTED images.

    Args:
        probabilities: [N, K], out of sample.
        labels: int64 [N], 0 to K - 1.

    Returns:
        float64 [N], from 0 to 1; it falls as the probability of the label rises.
    """
    num_classes = probabilities.shape[1]
    # In float32 the regression would take probabilities below 1e-6 for equal.
    confidence = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    drawn = draw(len(labels), MAX_COUNTED)
    counted = probabilities[drawn].astype(np.float64)
    is_label = np.arange(num_classes) == labels[drawn, None]
    regression = IsotonicRegression(out_of_bounds="clip")
    regression.fit(counted.ravel(), is_label.ravel().astype(float))
    frequency_of_labels = regression.predict(confidence)
    expected = EXPECTED_WRONG / (num_classes - 1)
    surely_not = counted <= np.quantile(counted, SURELY_NOT)
    num_mistakes = is_label[surely_not].sum() + PRIOR_STRENGTH * expected
    mistakes = num_mistakes / (surely_not.sum() + PRIOR_STRENGTH)  # e
    return mistakes / np.maximum(frequency_of_labels, mistakes)


def out_of_sample_probabilities(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each image's class probabilities by a classifier that has not seen it (cross-validation).

    Args:
        features: [N, C].
        labels: int64 [N], 0 to K - 1, each at least NUM_FOLDS times.

    Returns:
        float32 [N, K].
    """
    probabilities = np.zeros([len(labels), labels.max() + 1], np.float32)
    strength = np.clip(REGULARIZATION / len(labels), *LIMITS_OF_C)
    folds = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=0)
    for train, test in folds.split(features, labels):
        fitted = train[draw(len(train), MAX_FITTED)]
        regression = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS)
        classifier = make_pipeline(StandardScaler(), regression)
        classifier.fit(features[fitted], labels[fitted])
        classes = classifier.classes_  # a draw may miss a rare one
        probabilities[np.ix_(test, classes)] = by_blocks(classifier.predict_proba, features[test])
    return probabilities


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
    cells, counts = np.unique(cells, return_counts=True)  # of K x K only those that occur
    row, column = np.divmod(cells, num_classes)
    num_neighbors = np.bincount(row, counts, num_classes)
    class_sizes = np.bincount(labels[labels >= 0], minlength=num_classes)
    rates = counts / np.maximum(num_neighbors[row] * class_sizes[column], 1)
    within = np.full(num_classes, LEAST_RATE)
    is_same = row == column
    within[row[is_same]] = np.maximum(rates[is_same], LEAST_RATE)
    relative = csr_array((rates / within[row], (row, column)), [num_classes, num_classes])
    product = relative.multiply(relative.T).tocoo()
    overlap = np.sqrt(product.data)
    is_listed = (product.row < product.col) & (overlap >= OVERLAP)
    columns = product.row, product.col, overlap
    pairs = zip(*(column[is_listed].tolist() for column in columns))
    return sorted(pairs, key=lambda pair: -pair[2])
