"""The trained linear classifier: is the label among the first guesses?"""

import numpy as np


def evaluate(train, test, options):
    """Yields label_top_1_accuracy and label_top_5_accuracy of `test["logits_sup"]` [N, C]; nothing without logits."""
    if "logits_sup" not in test:
        return
    logits, labels = test["logits_sup"], test["label"]
    own = np.take_along_axis(logits, labels[:, None], 1)  # [N, 1]
    rank = (~(logits < own)).sum(1) - 1  # a tie, or what is not a number, counts against the network
    yield "label_top_1_accuracy", float(np.mean(rank < 1))
    yield "label_top_5_accuracy", float(np.mean(rank < 5))
