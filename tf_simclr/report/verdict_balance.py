"""What a verdict says where accuracy and balanced accuracy put different networks first."""

from collections.abc import Sequence

from tf_simclr.report.contenders import Contender
from tf_simclr.report.wording import capitalized

NEGLIGIBLE = 0.01  # of balanced accuracy


def disagreement(contenders: Sequence[Contender]) -> str | None:
    """Says which contender is first by which accuracy, where --class_weights=balanced.

    All else that a verdict says is by accuracy, which a rare class hardly changes.

    Args:
        contenders: that are compared.

    Returns:
        None where classes count by their images, and where one is first by both accuracies.
    """
    if not contenders or not all(each.balances_classes for each in contenders):
        return None
    best = max(contenders, key=lambda contender: contender.accuracy)
    best_balanced = max(contenders, key=balanced_accuracy)
    if best_balanced.balanced_accuracy - best.balanced_accuracy <= NEGLIGIBLE:
        return None
    accuracies = f"{best.accuracy:.1%} and {best_balanced.accuracy:.1%}"
    means = f"{best.balanced_accuracy:.1%} and {best_balanced.balanced_accuracy:.1%}"
    return (
        f"{capitalized(best.phrase)} is right more often than {best_balanced.phrase} "
        f"({accuracies}), but less often in the mean over the classes ({means}), which all count "
        "the same with --class_weights=balanced: which is better depends on what counts."
    )


def balanced_accuracy(contender: Contender) -> float:
    """To find the best by it; 0 where it is not known."""
    return contender.balanced_accuracy or 0.0
