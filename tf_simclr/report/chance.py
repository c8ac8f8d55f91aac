"""Whether what a verdict compares is better than guessing, and what to do where nothing is."""

import math
from collections.abc import Sequence

from tf_simclr.config.evaluation_sections import FEW_EVALUATED
from tf_simclr.report.contenders import Contender
from tf_simclr.report.evaluated import CLASSIFIER, headline_layers
from tf_simclr.report.intervals import Z
from tf_simclr.report.wording import capitalized

# Of the share of the most frequent class over 1 / classes; below, it is not worth saying.
MIN_EXCESS = 0.05


def better_than_guessing(contenders: Sequence[Contender]) -> list[Contender]:
    """Those that are better than guessing."""
    return [contender for contender in contenders if is_better_than_guessing(contender)]


def is_better_than_guessing(contender: Contender) -> bool:
    """Whether a contender is surely right more often than a guess.

    Either its accuracy is above that of always naming the most frequent class, or its balanced
    accuracy is above that of any guess, which is 1 / classes: with a rare class that has weight the
    accuracy alone may be low. True where the number of classes is not known.
    """
    guess = share_of_guess(contender)
    return guess is None or contender.interval.low > guess or _is_balanced_above_guess(contender)


def share_of_guess(contender: Contender) -> float | None:
    """The accuracy of always naming the class that most of the evaluated images have.

    Returns:
        1 / classes where it is not known how many images each has; None where there is one class
        or it is not known how many.
    """
    counts = _class_counts(contender)
    num_classes = len(counts) or contender.run.num_classes or 0
    if num_classes < 2:
        return None
    return max(counts) / sum(counts) if counts else 1 / num_classes


def frequent_class(contender: Contender) -> str | None:
    """What always naming the most frequent class reaches; None where it is hardly more often."""
    counts = _class_counts(contender)
    guess = share_of_guess(contender)
    if guess is None or not counts or guess - 1 / len(counts) <= MIN_EXCESS:
        return None
    return f"always the most frequent class: {guess:.1%}"


def _class_counts(contender):
    """Evaluated images of each class that has some; empty where not known."""
    run = contender.run
    counts = [sum(row) for row in run.details(CLASSIFIER, "confusion") or []]
    if not counts:
        layer, _ = headline_layers(run.document)
        counts = run.details(layer, "class_counts") or []
    return [count for count in counts if count > 0]


def _is_balanced_above_guess(contender):
    """By the deviation that the balanced accuracy of a guess has, each class as likely."""
    counts = _class_counts(contender)
    if contender.balanced_accuracy is None or not counts:
        return False
    guess = 1 / len(counts)
    variance = guess * (1 - guess) * sum(1 / count for count in counts) / len(counts) ** 2
    return contender.balanced_accuracy - guess > Z * math.sqrt(variance)


def of_all(contenders: Sequence[Contender], subject: Contender) -> str:
    """What is said where nothing that is compared is better than guessing.

    Args:
        contenders: that are compared.
        subject: whose accuracy is stated.
    """
    which = "None of these is" if len(contenders) > 1 else "It is not"
    return (
        f"{which} surely better than guessing ({share_of_guess(subject):.1%}): there is nothing to "
        f"use yet, and nothing to say of pretraining. {_advice(subject)}"
    )


def of_classifiers(classifiers: Sequence[Contender]) -> str:
    """What is said where no classifier is better than guessing, though something else is.

    Args:
        classifiers: that are compared.
    """
    first = classifiers[0]
    which = "No classifier is" if len(classifiers) > 1 else f"{first.name} is not"
    guess = f"{share_of_guess(first):.1%}"
    sentence = f"{which} surely better than guessing ({guess}): use none of it yet."
    return f"{capitalized(sentence)} {_advice(first)}"


def _advice(contender):
    """What to do."""
    facts, flags = contender.run.facts, contender.run.get("flags")
    labels = "more images with labels"
    if facts.get("labels", 0) < facts.get("images", 0):
        labels = "more labels (--mode=select says of which images)"
    pixels = flags.get("image_size")
    is_hardly_known = contender.num_images < FEW_EVALUATED
    evaluated = "more evaluated images (--eval_split), " if is_hardly_known else ""
    size = f", more than {pixels} pixels (--image_size) where details matter" if pixels else ""
    return (
        f"What may help: {evaluated}a longer training (--budget or --train_epochs), {labels}{size}"
        "; --mode=inspect finds doubtful labels."
    )
