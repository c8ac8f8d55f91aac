"""What comes out of some runs, in a few sentences: which to use, how good, against what."""

import dataclasses

from tf_simclr.config.backbones import is_published
from tf_simclr.report import chance, image_bits, verdict_balance, verdict_choice, verdict_notes
from tf_simclr.report import contenders as contenders_lib
from tf_simclr.report import runs as runs_lib
from tf_simclr.report.contenders import BASELINES, DISTILL, PROBE, PUBLISHED, UNTRAINED, Contender
from tf_simclr.report.evaluated import CLASSIFIER
from tf_simclr.report.runs import Run
from tf_simclr.report.wording import capitalized

NEGLIGIBLE = 0.01  # a gain of pretraining that may be called none


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is said of some runs.

    Attributes:
        sentences: the verdict itself.
        notes: what limits it, a sentence or two each.
        contenders: what is compared, for the chart: all with the labels of the one whose accuracy
            is stated, and networks with others; empty where nothing can be compared.
        best: the contender that is to be used, or whose accuracy is stated; of networks that
            accuracy and balanced accuracy put in different orders the first by the latter; None
            without any.
        used: the contender that the sentences say to use; None where they do not.
    """

    sentences: tuple[str, ...]
    notes: tuple[str, ...] = ()
    contenders: tuple[Contender, ...] = ()
    best: Contender | None = None
    used: Contender | None = None

    @property
    def text(self) -> str:
        """All of it in lines."""
        return "\n".join([" ".join(self.sentences), *self.notes])


@dataclasses.dataclass(frozen=True)
class Group:
    """Contenders that were fitted to the same labels.

    Attributes:
        subject: whose accuracy is stated: the best one of those that are no baselines.
        candidates: that it is the best of.
        rivals: the supervised network and the probes of baselines, the best one first.
        pretrained: the probe on features of a pretraining, None without one.
    """

    subject: Contender
    candidates: tuple[Contender, ...]
    rivals: tuple[Contender, ...]
    pretrained: Contender | None


def of_runs(runs: list[Run]) -> Verdict | None:
    """The verdict on some runs; None where there is nothing to say, as without labels."""
    contenders = contenders_lib.of_runs(runs)
    subjects = [contender for contender in contenders if contender.kind not in BASELINES]
    if not subjects:
        return _without_subject(runs)
    datasets = dict.fromkeys(str(contender.run.facts.get("dataset")) for contender in subjects)
    if len(datasets) > 1:
        names = ", ".join(datasets)
        return Verdict((f"No verdict: the runs are of different data ({names}).",))
    contenders, num_copies = contenders_lib.without_copies(contenders)
    group = _main_group(contenders)
    chosen, advice, more = verdict_choice.choose(contenders, group.subject)
    classifiers = [contender for contender in contenders if contender.kind == CLASSIFIER]
    disagreement = verdict_balance.disagreement([*group.candidates, *group.rivals])
    disagreement = disagreement or verdict_balance.disagreement(classifiers)
    used = None
    if not chance.better_than_guessing(contenders):
        sentences = [_result(group), chance.of_all(contenders, group.subject)]
    elif disagreement:
        sentences = [_result(group), disagreement]
        chosen = max(classifiers or [chosen], key=verdict_balance.balanced_accuracy)
    else:
        sentences = [*advice, _result(group), *_gain(group), *more]
        used = chosen if advice else None
    notes = verdict_notes.notes(runs, contenders, group.subject, chosen, num_copies)
    charted = [
        contender
        for contender in contenders
        if contender.kind == CLASSIFIER or contender.labels == group.subject.labels
    ]
    return Verdict(tuple(sentences), notes, tuple(charted), chosen, used)


def text_of(directories: list) -> str | None:
    """The verdict on the runs of some directories as text; None where there is none.

    Raises:
        UserError: a directory without results that can be read.
    """
    verdict = of_runs(runs_lib.read(directories))
    return verdict and verdict.text


def advised(directories: list):
    """The directory of the run whose classifier the verdict on some runs says to use.

    Args:
        directories: of runs that were evaluated.

    Returns:
        One of them; None where the verdict says nothing of a classifier.
    """
    verdict = of_runs(runs_lib.read(directories))
    best = verdict and verdict.best
    return best.run.directory if best and best.kind == CLASSIFIER else None


def _without_subject(runs):
    if any(contenders_lib.is_on_training_images(run) for run in runs):
        return Verdict(
            (
                "No verdict: the evaluated images are those that were trained on, which says "
                "little of others. Give another --eval_split.",
            )
        )
    return None


def _main_group(contenders):
    """The group with the most contenders, if possible one of labels that were drawn."""
    groups = {}
    for contender in contenders:
        groups.setdefault(contender.labels, []).append(contender)
    usable = [members for members in groups.values() if _subjects(members)]

    def quality(members):
        return not members[0].labels.is_selected, len(members)

    return _group(max(usable, key=quality))


def _subjects(members):
    """Whose accuracy may be stated: networks that know other images, else probes, else others."""
    networks = [each for each in members if each.kind == CLASSIFIER and not each.is_supervised]
    # A probe on pretrained features, before the network that knows the labels alone.
    probes = [each for each in members if each.kind == PROBE]
    classifiers = [each for each in members if each.kind == CLASSIFIER]
    students = [each for each in classifiers if each.run.facts.get("train_mode") == DISTILL]
    return networks or probes or students or classifiers


def _group(members):
    candidates = _subjects(members)
    subject = max(candidates, key=lambda contender: contender.accuracy)
    rivals = [each for each in members if each.is_supervised or each.kind in BASELINES]
    rivals = [each for each in rivals if each not in candidates]
    rivals.sort(key=lambda contender: -contender.accuracy)
    pretrained = [each for each in members if each.is_pretrained_probe]
    best = max(pretrained, key=lambda contender: contender.accuracy, default=None)
    return Group(subject, tuple(candidates), tuple(rivals), best)


def _result(group):
    """How often the subject is right, and its rivals."""
    subject = group.subject
    split = subject.run.facts.get("eval_split", "")
    count = f"{subject.num_images:,}"
    # Of more images copies are counted among some of them alone.
    if subject.num_images < subject.num_with_copies <= image_bits.MAX_IMAGES:
        count = f"{count} of {subject.num_with_copies:,}"
    images = f"{count} {split} images".replace("  ", " ")
    interval = f"95% interval {subject.interval.ends}"
    sentence = (
        f"On {images}, with {subject.labels}: {subject.phrase} is right about "
        f"{subject.accuracy:.1%} ({interval})"
    )
    num_candidates = len(group.candidates)
    if num_candidates > 1:
        sentence += f", the best of {num_candidates} on these images"
    if group.rivals:
        sentence += f"; {', '.join(_rivals(group.rivals))}"
    frequent_class = chance.frequent_class(subject)
    if frequent_class:
        sentence += f"; {frequent_class}"
    return f"{sentence}."


def _rivals(rivals):
    """The accuracies of rivals, the networks first."""
    texts = [f"{each.name} {each.accuracy:.1%}" for each in rivals if each.is_supervised]
    baselines = [each for each in rivals if not each.is_supervised]
    probes = [f"on {each.name} {each.accuracy:.1%}" for each in baselines]
    if probes:
        plural = "s" if len(probes) > 1 else ""
        listed = " and ".join(filter(None, [", ".join(probes[:-1]), probes[-1]]))
        texts.append(f"linear probe{plural} {listed}")
    return texts


def _gain(group):
    """Whether the subject is better than each of its rivals, in a list; empty without any.

    A published network beside a run of another kind is no judgment on its pretraining.
    """
    if not group.rivals:
        return []
    others = tuple(rival for rival in group.rivals if not _is_yardstick(rival, group.subject))
    if len(others) < len(group.rivals):
        yardsticks = [rival for rival in group.rivals if rival not in others]
        rival, difference = _hardest_rival(group.subject, yardsticks)
        alone = dataclasses.replace(group, rivals=others)
        return [*_gain(alone), f"{capitalized(_compared(group.subject, rival, difference))}."]
    rival, difference = _hardest_rival(group.subject, group.rivals)
    if difference.low > 0:
        return [f"{_praise(group)} {difference.points()} over {rival.phrase}."]
    failure = _compared(group.subject, rival, difference)
    if group.pretrained is None:
        return [f"{capitalized(failure)}."]
    best_rival, of_probe = _hardest_rival(group.pretrained, group.rivals)
    if of_probe.low > 0:
        return [
            f"{capitalized(failure)}; what helps is {group.pretrained.phrase}, "
            f"{of_probe.points()} over {best_rival.phrase}."
        ]
    if difference.high <= NEGLIGIBLE:
        return [f"Pretraining does not help here: {failure}."]
    return [
        f"It is open whether pretraining helps: {failure}. More images in --eval_split make "
        "smaller differences visible."
    ]


def _is_yardstick(rival, subject):
    return rival.kind == PUBLISHED and _published_backbone(subject) is None


def _compared(subject, rival, difference):
    """How a subject stands beside a rival."""
    if difference.low > 0:
        return f"it is {difference.points()} over {rival.phrase}"
    if difference.high < 0:
        advantage = difference.reversed().points().removeprefix("+")
        return f"{rival.phrase} is better than {subject.phrase} by {advantage}"
    return f"{subject.phrase} can't be told from {rival.phrase} ({difference.points(', {}')})"


def _hardest_rival(subject, rivals):
    """The best rival that the subject does not surely beat, or else the best one.

    Returns:
        (rival, difference of the subject to it).
    """
    differences = [(rival, subject.minus(rival)) for rival in rivals]
    not_beaten = [pair for pair in differences if pair[1].low <= 0]
    return (not_beaten or differences)[0]


def _praise(group):
    """What a gain is of: of pretraining only where the same was tried without it."""
    is_of_pretraining = group.pretrained is not None and _is_tried_without(group)
    return "Pretraining helps:" if is_of_pretraining else "That is"


def _is_tried_without(group):
    """Whether a rival had the weights that the pretraining started from, and no pretraining."""
    flags = group.pretrained.run.get("flags")
    if flags.get("checkpoint"):
        return False
    start = _published_backbone(group.pretrained)
    supervised = [rival for rival in group.rivals if rival.is_supervised]
    if any(_published_backbone(rival) == start for rival in supervised):
        return True
    kind = PUBLISHED if start else UNTRAINED
    is_probe = group.subject is group.pretrained
    return is_probe and any(rival.kind == kind for rival in group.rivals)


def _published_backbone(contender):
    """The published network that a contender started from; None if it was none."""
    backbone = contender.run.get("flags").get("backbone", "")
    return backbone if is_published(backbone) else None
