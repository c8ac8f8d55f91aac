"""Which network a verdict says to use."""

from collections.abc import Sequence

from tf_simclr.report import chance
from tf_simclr.report.contenders import Contender
from tf_simclr.report.evaluated import CLASSIFIER
from tf_simclr.runs import files as run_files


def choose(
    contenders: Sequence[Contender], subject: Contender
) -> tuple[Contender, tuple[str, ...]]:
    """Chooses the classifier to use.

    Of those that can't be told from the best it is the smallest network, and of equals the
    earliest one; none that guesses where another does not.

    Args:
        contenders: that are compared.
        subject: the one whose accuracy is stated, which is chosen where there is no classifier.

    Returns:
        (the contender to use, sentences that say so).
    """
    classifiers = [contender for contender in contenders if contender.kind == CLASSIFIER]
    if not classifiers:
        return subject, ()
    candidates = chance.better_than_guessing(classifiers) or classifiers
    best = max(candidates, key=lambda contender: contender.accuracy)
    alike = [each for each in candidates if each is best or best.minus(each).low <= 0]
    chosen = min(alike, key=_size)
    if not chance.is_better_than_guessing(chosen):
        return chosen, (chance.of_classifiers(classifiers),)
    sentences = []
    if best.labels != subject.labels and best.minus(subject).low > 0:
        sentences.append(_of_other_labels(best, subject))
    if len(classifiers) > 1:
        sentences.append(_use(chosen, best))
    return chosen, tuple(sentences)


def _size(contender):
    return contender.run.facts.get("parameters", 0)


def _of_other_labels(best, subject):
    """What the best one reaches with labels that the subject did not have."""
    difference = best.minus(subject)
    return (
        f"With {best.labels}, {best.name} is right about {best.accuracy:.1%} "
        f"({best.interval.ends}), {difference.points()} over {subject.phrase}, which comes "
        "with the labels, not with pretraining."
    )


def _use(chosen, best):
    """Which network to take."""
    name = _exported(chosen)
    if chosen is best:
        return f"Use {name}."
    reason = "it is smaller" if _size(chosen) < _size(best) else "it comes first"
    difference = best.minus(chosen).points(", {}")
    other = best.name
    if best.labels != chosen.labels:
        other += f", with {best.labels},"
    return f"Use {name}: {other} can't be told from it ({difference}), and {reason}."


def _exported(contender):
    """What there is of a network to use."""
    formats = contender.run.get("flags").get("export_formats") or ()
    if run_files.SAVED_MODEL in formats:
        return f"{contender.run.name}/{run_files.SAVED_MODEL}"
    return contender.run.name
