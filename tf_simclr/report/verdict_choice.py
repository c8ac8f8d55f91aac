"""Which network a verdict says to use."""

from collections.abc import Sequence

from tf_simclr.report import chance
from tf_simclr.report.contenders import Contender
from tf_simclr.report.evaluated import CLASSIFIER
from tf_simclr.runs import files as run_files

# What a smaller or earlier network may be behind the best one to be preferred. Of few images a
# difference that can't be told from none may be large, and then the best one is the better bet.
MAX_BEHIND = 0.05


def choose(
    contenders: Sequence[Contender], subject: Contender
) -> tuple[Contender, tuple[str, ...], tuple[str, ...]]:
    """Chooses the classifier to use.

    Of those that can't be told from the best, and are at most `MAX_BEHIND` behind it, it is the
    smallest network, and of equals the earliest one; none that guesses where another does not.

    Args:
        contenders: that are compared.
        subject: the one whose accuracy is stated, which is chosen where there is no classifier.

    Returns:
        (the contender to use, the sentence that says so if there is a choice, further sentences).
    """
    classifiers = [contender for contender in contenders if contender.kind == CLASSIFIER]
    if not classifiers:
        return subject, (), ()
    candidates = chance.better_than_guessing(classifiers) or classifiers
    best = max(candidates, key=lambda contender: contender.accuracy)
    alike = [each for each in candidates if each is best or best.minus(each).low <= 0]
    near = [each for each in alike if _is_near(each, best)]
    chosen = min(near, key=_size)
    not_beaten = [each for each in alike if each not in near]
    if not chance.is_better_than_guessing(chosen):
        return chosen, (), (chance.of_classifiers(classifiers),)
    sentences = []
    if best.labels != subject.labels and best.minus(subject).low > 0:
        sentences.append(_of_other_labels(best, subject, classifiers))
    advice = (_use(chosen, best, not_beaten),) if len(classifiers) > 1 else ()
    return chosen, advice, tuple(sentences)


def _is_near(contender, best):
    """Whether it is not far behind; where all classes count the same, in their mean, too."""
    shortfalls = [best.accuracy - contender.accuracy]
    if best.balances_classes and contender.balances_classes:
        shortfalls.append(best.balanced_accuracy - contender.balanced_accuracy)
    return max(shortfalls) <= MAX_BEHIND


def _size(contender):
    return contender.run.facts.get("parameters", 0)


def _of_other_labels(best, subject, classifiers):
    """What the best one reaches with labels that the subject did not have."""
    difference = best.minus(subject)
    meaning = "which says nothing of pretraining: the labels are others"
    if _is_gain_of_selection(best, subject, classifiers):
        meaning = "which comes with the labels, not with pretraining"
    return (
        f"With {best.labels}, {best.name} is right about {best.accuracy:.1%} "
        f"({best.interval.ends}), {difference.points()} over {subject.phrase}, {meaning}."
    )


def _is_gain_of_selection(best, subject, classifiers):
    """Whether as many labels that were drawn make a network of the same kind surely worse."""
    is_selected = best.labels.is_selected and not subject.labels.is_selected
    if not is_selected or best.labels.count != subject.labels.count:
        return False
    train_mode = best.run.facts.get("train_mode")
    of_same_kind = [
        each
        for each in classifiers
        if each.labels == subject.labels and each.run.facts.get("train_mode") == train_mode
    ]
    gains = [best.minus(each) for each in of_same_kind]
    return bool(gains) and all(gain.low > 0 for gain in gains)


def _use(chosen, best, not_beaten):
    """Which network to take.

    Args:
        chosen: that network.
        best: the one with the highest accuracy.
        not_beaten: those far behind the best one that can't be told from it all the same.
    """
    name = _exported(chosen)
    if chosen is not best:
        reason = "it is smaller" if _size(chosen) < _size(best) else "it comes first"
        return f"Use {name}: {_not_told(best, chosen)}, and {reason}."
    if not_beaten:
        return f"Use {name}: {_not_told(not_beaten[0], chosen)}, but it is ahead."
    return f"Use {name}."


def _not_told(other, chosen):
    difference = other.minus(chosen).points(", {}")
    name = other.name
    if other.labels != chosen.labels:
        name += f", with {other.labels},"
    return f"{name} can't be told from it ({difference})"


def _exported(contender):
    """What there is of a network to use."""
    formats = contender.run.get("flags").get("export_formats") or ()
    if run_files.SAVED_MODEL in formats:
        return f"{contender.run.name}/{run_files.SAVED_MODEL}"
    return contender.run.name
