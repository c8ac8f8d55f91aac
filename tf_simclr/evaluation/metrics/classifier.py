"""The trained linear classifier: its accuracy, calibration and confusions."""

import numpy as np

from tf_simclr.evaluation.metrics.base import Detail, Metric, balanced_accuracy, by_blocks
from tf_simclr.report import image_bits

NUM_BINS = 15  # of the confidence (Guo et al. 2017)
MAX_MISTAKES = 12  # that are kept
MAX_CONFUSION_CLASSES = 1000


def evaluate(train, test, options):
    """Accuracy, calibration, and what is mistaken for what.

    Args:
        train: not used.
        test: its features are the logits [N, C]; all its examples have a label.
        options: not used.

    Yields:
        label_top_1_accuracy, label_top_5_accuracy; label_balanced_accuracy, the mean recall over
        the classes that occur; negative_log_likelihood (nats, mean);
        expected_calibration_error (Guo et al. 2017, equation 3); per_class_accuracy [C], None for
        a class that does not occur; confusion [C][C], a row for each true class, of up to 1,000;
        never_predicted, the classes that occur and are never predicted;
        calibration_error_by_chance, see there; reliability, a dict for each bin of the confidence;
        mistakes, the most confident first; classifier_correct, which examples are right, see
        `image_bits.pack`.
    """
    logits, labels = test.features, test.labels
    num_classes = logits.shape[1]

    def outcomes(index):
        return _outcomes(logits[index], labels[index])

    columns = by_blocks(outcomes, np.arange(len(labels))).T
    rank, true_log_probabilities, log_confidence = columns
    correct = rank < 1
    yield Metric("label_top_1_accuracy", np.mean(correct))
    yield Detail("classifier_correct", image_bits.pack(correct, labels))
    yield Metric("label_top_5_accuracy", np.mean(rank < 5))
    yield Metric("label_balanced_accuracy", balanced_accuracy(correct, labels))

    yield Metric("negative_log_likelihood", -np.mean(true_log_probabilities))

    predicted = logits.argmax(1)
    confidence = np.exp(log_confidence)
    bins = reliability(confidence, correct)
    yield Metric("expected_calibration_error", calibration_error(bins))
    yield Detail("calibration_error_by_chance", calibration_error_by_chance(confidence))
    yield Detail("reliability", bins)
    if num_classes <= MAX_CONFUSION_CLASSES:
        pairs = labels * num_classes + predicted
        counts = np.bincount(pairs, minlength=num_classes * num_classes)
        yield Detail("confusion", counts.reshape(num_classes, num_classes).tolist())
    yield Detail("per_class_accuracy", _per_class_accuracy(correct, labels, num_classes))
    yield Detail("never_predicted", np.setdiff1d(labels, predicted).tolist())
    yield Detail("mistakes", _mistakes(labels, predicted, confidence))


def _outcomes(logits, labels):
    """[N, 3]: the rank of the true class, its log-probability, and the highest one."""
    logits = logits.astype(np.float64)
    true_logits = np.take_along_axis(logits, labels[:, None], 1)  # [N, 1]
    rank = (logits >= true_logits).sum(1) - 1  # a tie counts against the network
    log_probabilities = _log_softmax(logits)
    of_true = np.take_along_axis(log_probabilities, labels[:, None], 1)[:, 0]
    return np.stack([rank, of_true, log_probabilities.max(1)], 1)


def _log_softmax(logits):
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def reliability(confidence: np.ndarray, correct: np.ndarray) -> list[dict]:
    """How often predictions are right, by their confidence.

    Args:
        confidence: float [N] in [0, 1].
        correct: bool [N].

    Returns:
        [{"from", "to", "count", "confidence", "accuracy"}] of `NUM_BINS` equal bins, each with its
        upper end; the means are None in an empty bin.
    """
    index = _bin_of(confidence)
    counts = np.bincount(index, minlength=NUM_BINS)
    confidence_sums = np.bincount(index, confidence, NUM_BINS)
    correct_sums = np.bincount(index, correct, NUM_BINS)
    bins = []
    for number, count in enumerate(counts):
        bins.append(
            {
                "from": number / NUM_BINS,
                "to": (number + 1) / NUM_BINS,
                "count": int(count),
                "confidence": float(confidence_sums[number] / count) if count else None,
                "accuracy": float(correct_sums[number] / count) if count else None,
            }
        )
    return bins


def _bin_of(confidence):
    """int [N], the bin of each confidence [N]."""
    return np.clip(np.ceil(confidence * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)


def calibration_error(bins: list[dict]) -> float:
    """The expected calibration error of the bins of `reliability`.

    Source: Guo et al. 2017, equation 3.
    """
    gaps = [b["count"] * abs(b["accuracy"] - b["confidence"]) for b in bins if b["count"]]
    return sum(gaps) / sum(b["count"] for b in bins)


def calibration_error_by_chance(confidence: np.ndarray) -> float:
    """About the expected calibration error that a perfectly calibrated classifier has.

    Its predictions are right as often as their confidence says, but of few the share that is right
    is off by chance.

    Args:
        confidence: float [N] in [0, 1].
    """
    # Of how many of each bin are right; the mean absolute deviation is that of a normal
    # distribution, or, where hardly one is wrong, that of single predictions.
    variance = np.bincount(_bin_of(confidence), confidence * (1 - confidence), NUM_BINS)
    deviation = np.minimum(np.sqrt(2 / np.pi * variance), 2 * variance)
    return float(deviation.sum() / len(confidence))


def _per_class_accuracy(correct, labels, num_classes):
    accuracies = []
    for label in range(num_classes):
        of_class = labels == label
        accuracies.append(float(correct[of_class].mean()) if of_class.any() else None)
    return accuracies


def _mistakes(labels, predicted, confidence):
    """The most confident wrong predictions."""
    wrong = np.flatnonzero(predicted != labels)
    order = np.argsort(-confidence[wrong], kind="stable")[:MAX_MISTAKES]
    return [
        {
            "example": int(i),
            "label": int(labels[i]),
            "predicted": int(predicted[i]),
            "confidence": float(confidence[i]),
        }
        for i in wrong[order]
    ]
