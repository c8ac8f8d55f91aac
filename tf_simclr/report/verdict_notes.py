"""What limits a verdict, and what would change it: a note each."""

import math

from tf_simclr.config.evaluation_sections import FEW_EVALUATED
from tf_simclr.report import chance, image_bits, intervals, probe_command, training_notes
from tf_simclr.report import contenders as contenders_lib
from tf_simclr.report.contenders import PROBE, Contender
from tf_simclr.report.evaluated import (
    CLASSIFIER,
    TRAINED,
    has_learned_labels,
    headline_layers,
    metrics_of,
)
from tf_simclr.report.label_answer import LAW_INTERVAL
from tf_simclr.report.runs import Run

MIN_DRAWS = 5  # of the labels, to speak of their spread
# The draws of a probe are used where they have at least this share of the labels.
SMALLEST_DRAW = 0.4
MIN_GAIN = 0.005  # of accuracy by more labels, below which nothing is said


def notes(
    runs: list[Run],
    contenders: list[Contender],
    subject: Contender,
    chosen: Contender,
    num_copies: int,
) -> tuple[str, ...]:
    """The notes on a verdict.

    Args:
        runs: that it is on.
        contenders: that are compared.
        subject: the contender whose accuracy is stated.
        chosen: the one that is to be used.
        num_copies: images left out as near-copies of training images.
    """
    pretrained = _pretrained(contenders, subject)
    candidates = [
        *[note for run in runs for note in training_notes.notes(run)],
        _few_images(subject, pretrained),
        _copies(runs, num_copies, subject),
        _left_out(runs),
        _not_paired(contenders),
        _better_probe(contenders, chosen),
        _balanced_classes(subject),
        _fewer_fitted(subject),
        pretrained and _other_draws(pretrained.run),
        pretrained and _more_labels(pretrained.run),
    ]
    return tuple(filter(None, candidates))


def _pretrained(contenders, subject):
    """The probe on pretrained features, which have not seen the labels; None without one."""
    for contender in contenders:
        if contender.is_pretrained_probe and contender.labels == subject.labels:
            return contender
    return None


def _few_images(subject, pretrained):
    if subject.num_images >= FEW_EVALUATED:
        return None
    wide = f"Only {subject.num_images} images were evaluated: the intervals are wide."
    over_all = pretrained and _cross_validated(pretrained)
    return f"{wide} {over_all}" if over_all else wide


def _cross_validated(pretrained):
    """The accuracy of a probe over all labeled images; None where it was not computed."""
    layer, _ = headline_layers(pretrained.run.document)
    accuracy = metrics_of(pretrained.run.document, TRAINED, layer).get("cross_validated_accuracy")
    if accuracy is None:
        return None
    num_images = pretrained.run.details(layer, "cross_validation")["images"]
    interval = intervals.of_accuracy(accuracy, num_images)
    return (
        f"Over all {num_images} labeled images, cross-validated, {pretrained.phrase} is right "
        f"about {accuracy:.1%} (95% interval {interval.ends})."
    )


def _copies(runs, num_copies, subject):
    counts = [run.get("training_copies") for run in runs if run.get("training_copies")]
    are_skipped = any(count.get("skipped") for count in counts)
    if num_copies:
        images = "1 image that is a near-copy" if num_copies == 1 else f"{num_copies:,} near-copies"
        others = "; not all similar images were compared" if are_skipped else ""
        return (
            f"{images} of training images left out{others}. Metrics and tables are of all "
            f"{subject.num_with_copies:,} images."
        )
    most = max(counts, key=lambda count: count["images"], default=None)
    if most is None or not most["images"]:
        return None
    at_least = "At least " if most.get("skipped") else ""
    return (
        f"{at_least}{most['images']:,} of {most['evaluated']:,} evaluated images are near-copies "
        "of training images, so the accuracies are a little too good."
    )


def _left_out(runs):
    names = [run.name for run in runs if contenders_lib.is_on_training_images(run)]
    if not names:
        return None
    return f"Not compared, since evaluated on the images trained on: {', '.join(names)}."


def _not_paired(contenders):
    """Why differences are not of the same images, one by one."""
    first = contenders[0]
    if any(contender.images[:-1] != first.images[:-1] for contender in contenders):
        return (
            "Not all were evaluated on the same images: the intervals of differences are those of "
            "different images."
        )
    if not all(contender.is_paired_with(first) for contender in contenders):
        return (
            "Which images were right is not known of each: the intervals of some differences are "
            "those of different images, and mostly too wide. --mode=eval evaluates a run again."
        )
    if first.num_with_copies > image_bits.MAX_IMAGES:
        return (
            f"The intervals of differences are those of {image_bits.MAX_IMAGES:,} of the "
            f"{first.num_with_copies:,} images."
        )
    return None


def _better_probe(contenders, chosen):
    """A probe that the networks do not reach."""
    if chosen.kind != CLASSIFIER:
        return None
    for contender in contenders:
        difference = contender.minus(chosen)
        is_same = contender.labels == chosen.labels
        if contender.kind == PROBE and is_same and difference.low > 0:
            gain = 100 * difference.value
            command = probe_command.of_probe(contender)
            still = " still" if chance.is_better_than_guessing(chosen) else ""
            return (
                f"A linear probe on {contender.name} is better{still}, by {gain:.1f} points. This "
                f"makes it a classifier, to predict with and to export: {command}"
            )
    return None


def _balanced_classes(subject):
    """What else is to be known of a network for which all classes count the same."""
    if not subject.balances_classes:
        return None
    return (
        f"With --class_weights=balanced all classes count the same, in the linear probes, too: "
        f"{subject.phrase} is right about {subject.balanced_accuracy:.1%} in the mean over them."
    )


def _fewer_fitted(subject):
    """Probes that had fewer labels than the networks."""
    num_fitted = subject.run.facts.get("fitted_examples")
    count = subject.labels.count
    if not num_fitted or not count or num_fitted >= count:
        return None
    return f"The linear probes are fitted to {num_fitted:,} of the {count:,} labels."


def _other_draws(run):
    """How much other draws of as many labels would change a probe."""
    total = run.facts.get("fitted_examples")
    layer, _ = headline_layers(run.document)
    spread = total and spread_over_draws(run.details(layer, "few_labels") or [], total)
    if not spread:
        return None
    return (
        f"Other draws of {total:,} labels: about ± {100 * spread:.1f} points (standard deviation "
        f"of a linear probe on {run.name})."
    )


def spread_over_draws(entries: list[dict], num_labels: int) -> float | None:
    """The standard deviation of accuracies over draws of so many labels; None if it is not known.

    The draws are of some of these very labels, so they are alike: the deviation over subsets of r
    of n labels, times sqrt(r / (n - r)), is that over draws of n (delete-d jackknife).

    Args:
        entries: the detail few_labels of a probe.
        num_labels: n, the labels that the subsets are drawn from.

    Source: Shao and Wu, "A General Theory for Jackknife Variance Estimation" (1989).
    """
    near = [
        entry
        for entry in entries
        if len(entry.get("draws", ())) >= MIN_DRAWS
        and SMALLEST_DRAW * num_labels <= entry.get("labels", 0) < num_labels
    ]
    if not near:
        return None
    entry = near[-1]
    num_draws, drawn = len(entry["draws"]), entry["labels"]
    variance = entry["std"] ** 2 * num_draws / (num_draws - 1)
    return math.sqrt(variance * drawn / (num_labels - drawn))


def _more_labels(run):
    """What more labels would give, by the law fitted to the draws; None where it can't tell."""
    if has_learned_labels(run.document):
        return None  # the law would be of labels that are known
    layer, _ = headline_layers(run.document)
    label_law = run.details(layer, "label_law")
    if not label_law or label_law["reason"] or "law" not in label_law:
        return None
    if run.facts.get("fitted_examples", 0) > label_law["labels"]:
        return None  # the law is of fewer labels than there are
    band = sorted(label_law["band"], key=lambda point: point["labels"])
    now = [point for point in band if point["labels"] == label_law["labels"]]
    later = [point for point in band if point["labels"] > label_law["labels"]]
    if not (now and later):
        return None
    current, more = now[0]["accuracy"], later[0]
    gain, least = more["accuracy"] - current, more["low"] - current
    if least < MIN_GAIN:
        return None
    most = more["high"] - current
    return (
        f"More labels would help: about {100 * gain:+.0f} points ({100 * least:.0f} to "
        f"{100 * most:.0f}, {LAW_INTERVAL}) for a linear probe on {run.name} with "
        f"{more['labels']:,} instead of {label_law['labels']:,}, by the fitted law."
    )
