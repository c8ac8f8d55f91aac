"""The trained linear classifier: what it gets right, and whether it knows how sure it may be."""

import numpy as np

BINS = 15  # of the confidence, as Guo et al. 2017 have them
SHOWN = 12  # mistakes that are kept
MOST_CLASSES = 1000  # of a confusion matrix


def evaluate(train, test, options):
    """Yields accuracy, calibration, and what is mistaken for what.

    Args:
        test: its features are the logits [N, C], all its examples have a label.

    Yields:
        label_top_1_accuracy, label_top_5_accuracy; negative_log_likelihood (nats, mean); expected_calibration_error (Guo et
        al. 2017, eq. 3); per_class_accuracy [C], None for a class that is not there; confusion [C][C], a row for each true class, of up to 1,000;
        reliability, a dict for each bin of the confidence; mistakes, the most confident first.
    """
    logits, labels = test.features.astype(np.float64), test.labels
    own = np.take_along_axis(logits, labels[:, None], 1)  # [N, 1]
    rank = (logits >= own).sum(1) - 1  # a tie counts against the network
    yield "label_top_1_accuracy", float(np.mean(rank < 1))
    yield "label_top_5_accuracy", float(np.mean(rank < 5))
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    yield "negative_log_likelihood", float(-np.mean(np.take_along_axis(log_p, labels[:, None], 1)))
    predicted, confidence, correct = logits.argmax(1), np.exp(log_p.max(1)), rank < 1
    bins = reliability(confidence, correct)
    yield (
        "expected_calibration_error",
        float(
            sum(b["count"] * abs(b["accuracy"] - b["confidence"]) for b in bins if b["count"])
            / len(labels)
        ),
    )
    yield "reliability", bins
    count = logits.shape[1]
    if count <= MOST_CLASSES:
        yield (
            "confusion",
            np.bincount(labels * count + predicted, minlength=count * count)
            .reshape(count, count)
            .tolist(),
        )
    yield (
        "per_class_accuracy",
        [float(correct[labels == c].mean()) if (labels == c).any() else None for c in range(count)],
    )
    wrong = np.flatnonzero(predicted != labels)
    yield (
        "mistakes",
        [
            {
                "example": int(i),
                "label": int(labels[i]),
                "predicted": int(predicted[i]),
                "confidence": float(confidence[i]),
            }
            for i in wrong[np.argsort(-confidence[wrong], kind="stable")[:SHOWN]]
        ],
    )


def reliability(confidence, correct):
    """[{"from", "to", "count", "confidence", "accuracy"}] of BINS equal bins of confidence [N]; the means are None where there is nothing."""
    which = np.clip(
        np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1
    )  # a bin has its upper end
    counts = np.bincount(which, minlength=BINS)
    sums = {
        "confidence": np.bincount(which, confidence, BINS),
        "accuracy": np.bincount(which, correct, BINS),
    }
    return [
        {
            "from": i / BINS,
            "to": (i + 1) / BINS,
            "count": int(count),
            **{name: float(values[i] / count) if count else None for name, values in sums.items()},
        }
        for i, count in enumerate(counts)
    ]
