"""The charts of what TensorBoard has of trainings: of runs -> lines."""

import dataclasses
import math
from collections.abc import Callable

from markupsafe import Markup

from tf_simclr.report import line_chart
from tf_simclr.report.charts import Chart, accuracy_of_guesses
from tf_simclr.report.metric_names import PERCENT, metric
from tf_simclr.report.runs import Run
from tf_simclr.report.wording import capitalized

MONITOR = "monitor/"  # prefix of the tags of validation
# Labeled images of a batch below which their accuracy jumps between 0 and 1.
MIN_LABELED = 8
FAR_APART = 20  # ratio of peaks from which a logarithmic axis is used
# Ratio of levels at chance from which losses are divided by them. Some are measured from the data
# and differ a little.
OTHER_CHANCE = 1.1
IN_NATS = "in nats; "  # begins the caption of a loss that is not divided


def _last(tag):
    """A function, run -> the last value of its curve `tag`, or None."""
    return lambda run: float(run.curves[tag].values[-1]) if tag in run.curves else None


def _batch_size(run):
    """Images in a batch, among which positives are looked for."""
    return run.get("flags").get("train_batch_size")


def _has_labeled_batches(run):
    """Whether several images of a batch have a label."""
    labels, images = run.facts.get("labels"), run.facts.get("images")
    batch_size = _batch_size(run)
    if not (labels and images and batch_size):
        return True
    return labels / images * batch_size >= MIN_LABELED


def _batch_chance(run):
    batch_size = _batch_size(run)
    return batch_size and 1 / batch_size


def _batch_entropy(run):
    batch_size = _batch_size(run)
    return batch_size and math.log(batch_size)


def _label_entropy(run):
    return run.num_classes and math.log(run.num_classes)


@dataclasses.dataclass(frozen=True)
class TagChart:
    """A scalar of TensorBoard as a chart.

    Attributes:
        title: what it is of.
        caption: a line on how to read it.
        is_percent: whether values are written as percentages.
        chance: run -> level at chance, or None.
        applies: run -> whether it is shown.
        from_zero: whether the axis begins at 0.
    """

    title: str
    caption: str
    is_percent: bool = False
    chance: Callable = lambda run: None
    applies: Callable = lambda run: True
    from_zero: bool = False


TAGS = {
    "train/contrast_loss": TagChart(
        "Contrastive loss",
        "lower is better; at chance the views of an image are not told from those of others",
        chance=_last("train/contrast_chance"),
    ),
    "train/pretext_loss": TagChart(
        "Loss of the pretext task",
        "lower is better; chance is what a trivial answer costs",
        chance=_last("train/pretext_chance"),
    ),
    "train/supervised_loss": TagChart(
        "Loss on the labels",
        "cross-entropy of the linear classifier",
        chance=_label_entropy,
        applies=_has_labeled_batches,
    ),
    "train/distill_loss": TagChart(
        "Distillation loss", "cross-entropy of the teacher's and the student's predictions"
    ),
    "train/unlabeled_loss": TagChart(
        "Loss of the images without label",
        "of the method, without its weight; it rises where more predictions count",
    ),
    "train/total_loss": TagChart(
        "Total loss", "everything that is minimized, weight decay included"
    ),
    "train/contrast_acc": TagChart(
        "Positives found",
        "how often the other view of an image is the most similar of all second views in the batch",
        True,
        _batch_chance,
    ),
    "train/pretext_acc": TagChart(
        "Right answers of the pretext task", "on the batches of the training", True
    ),
    "train/contrast_entropy": TagChart(
        "Entropy of the contrastive choice",
        f"{IN_NATS}high: undecided; low: sure",
        chance=_batch_entropy,
    ),
    "train/supervised_acc": TagChart(
        "Accuracy on the training labels",
        "of the linear classifier, on augmented images",
        True,
        accuracy_of_guesses,
        _has_labeled_batches,
    ),
    "train/teacher_agreement": TagChart(
        "Agreement with the teacher",
        "how often the student's first choice is the teacher's",
        True,
        accuracy_of_guesses,
    ),
    "train/mask_rate": TagChart(
        "Images without label that count",
        "whose prediction is confident enough, of the batches of the training",
        True,
    ),
    "train/predicted_classes": TagChart(
        "Classes that are predicted",
        "in effect, for images without label: at 1 all predictions are of one class",
    ),
    "learning_rate": TagChart("Learning rate", "warm-up, then the schedule"),
    "train/embedding_std": TagChart(
        "Spread of the embeddings",
        "of d numbers each, at length 1: about 1/√d is healthy (0.088 of 128), near 0 they have "
        "collapsed to one point",
        from_zero=True,
    ),
}


def curves(runs: list[Run]) -> list[Chart]:
    """A chart for each tag that a run has."""
    monitored = {tag for run in runs for tag in run.curves if tag.startswith(MONITOR)}
    tag_charts = {**TAGS, **{tag: _monitor_chart(tag) for tag in sorted(monitored)}}
    charts = []
    for tag, tag_chart in tag_charts.items():
        having = [
            (number, run)
            for number, run in enumerate(runs)
            if tag in run.curves and tag_chart.applies(run)
        ]
        if having:
            charts.append(_chart(having, tag, tag_chart, has_legend=len(runs) > 1))
    return charts


def _monitor_chart(tag):
    shown_metric = metric(tag.removeprefix(MONITOR))
    has_chance = tag.endswith(("knn_accuracy", "probe_accuracy"))
    return TagChart(
        f"{capitalized(shown_metric.label)} while training",
        shown_metric.explanation or "watched during the training",
        shown_metric.format == PERCENT,
        accuracy_of_guesses if has_chance else lambda run: None,
    )


def _chart(numbered_runs, tag, tag_chart, *, has_legend):
    """numbered_runs: [(number, run)]."""
    lines, marks = [], []
    levels = [tag_chart.chance(run) for _, run in numbered_runs]
    if not tag_chart.is_percent and _differ(levels):
        caption = tag_chart.caption.removeprefix(IN_NATS)
        tag_chart = dataclasses.replace(
            tag_chart,
            title=f"{tag_chart.title} / chance",
            caption=f"{caption}; divided by the value at chance, which differs between the runs",
        )
        units, chances = levels, [1.0]
    else:
        units, chances = [1] * len(levels), _distinct(levels)
    for (number, run), unit in zip(numbered_runs, units, strict=True):
        curve = run.curves[tag]
        lines.append(line_chart.Line(run.name, curve.steps, curve.values / unit, number))
        if run.get("best"):
            marks.append((run.get("best")["step"], number))
    write = "{:.1%}".format if tag_chart.is_percent else "{:.4g}".format
    words = [f"{tag_chart.title} by training step."]
    for line in lines:
        first, last = write(line.y[0]), write(line.y[-1])
        words.append(f"{line.label}: {first} at step {line.x[0]}, {last} at step {line.x[-1]}.")
    words += [f"Chance: {write(level)}." for level in chances]
    words += [f"Best step: {step}." for step, _ in marks]
    axes = line_chart.Axes(
        "step",
        tag_chart.is_percent,
        log_y=tag == "learning_rate" and _are_far_apart(lines),
        from_zero=tag_chart.from_zero,
        has_legend=has_legend,
        chances=tuple(chances),
        marks=tuple(marks),
    )
    drawing = Markup(line_chart.draw(lines, axes, f"curve-{tag.replace('/', '-')}"))
    return Chart(tag_chart.title, tag_chart.caption, " ".join(words), drawing)


def _distinct(levels):
    return sorted({round(level, 6) for level in levels if level is not None})


def _differ(levels):
    """Whether each run has a level at chance, and some are far from others."""
    are_known = all(level is not None and level > 0 for level in levels)
    return are_known and max(levels) > OTHER_CHANCE * min(levels)


def _are_far_apart(lines):
    """Whether on one linear axis some of the lines would lie flat at the bottom."""
    peaks = [line.y.max() for line in lines]
    return min(peaks) > 0 and max(peaks) > FAR_APART * min(peaks)
