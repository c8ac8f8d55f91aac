"""Which charts the page has: of runs -> lines."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from markupsafe import Markup

from tf_simclr.report import svg
from tf_simclr.report.metric_names import (
    CLASSIFIER,
    PERCENT,
    TRAINED,
    evaluated_layers,
    format_value,
    headline_layers,
    metric,
    metrics_of,
    network_title,
    networks_of,
)
from tf_simclr.report.runs import Run

MONITOR = "monitor/"  # prefix of the tags of validation
# Labeled images of a batch below which their accuracy jumps between 0 and 1.
MIN_LABELED = 8
FAR_APART = 20  # ratio of peaks from which a logarithmic axis is used
LAYER_CHART_METRICS = ("linear_probe_accuracy", "knn_accuracy")


@dataclasses.dataclass(frozen=True)
class Chart:
    """An SVG.

    Attributes:
        title: what it is of.
        caption: a line on how to read it.
        words: what it shows, in words.
        svg: the drawing.
    """

    title: str
    caption: str
    words: str
    svg: Markup


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


def _chance(run):
    return 1 / run.num_classes if run.num_classes else None


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
    """

    title: str
    caption: str
    is_percent: bool = False
    chance: Callable = lambda run: None
    applies: Callable = lambda run: True


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
        "how often the other view of an image is the most similar one of the batch",
        True,
        _batch_chance,
    ),
    "train/pretext_acc": TagChart(
        "Right answers of the pretext task", "on the batches of the training", True
    ),
    "train/contrast_entropy": TagChart(
        "Entropy of the contrastive choice",
        "high: undecided; low: sure",
        chance=_batch_entropy,
    ),
    "train/supervised_acc": TagChart(
        "Accuracy on the training labels",
        "of the linear classifier, on augmented images",
        True,
        _chance,
        _has_labeled_batches,
    ),
    "train/teacher_agreement": TagChart(
        "Agreement with the teacher",
        "how often the student's first choice is the teacher's",
        True,
        _chance,
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
        "Spread of the embeddings", "near 0 they have collapsed to one point"
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
            charts.append(_curve_chart(having, tag, tag_chart, has_legend=len(runs) > 1))
    return charts


def _monitor_chart(tag):
    shown_metric = metric(tag.removeprefix(MONITOR))
    has_chance = tag.endswith(("knn_accuracy", "probe_accuracy"))
    return TagChart(
        f"{_capitalized(shown_metric.label)} while training",
        shown_metric.explanation or "watched during the training",
        shown_metric.format == PERCENT,
        _chance if has_chance else lambda run: None,
    )


def _capitalized(text):
    return text[:1].upper() + text[1:]


def _curve_chart(numbered_runs, tag, tag_chart, *, has_legend):
    """numbered_runs: [(number, run)]."""
    lines = []
    chances, marks = set(), []
    for number, run in numbered_runs:
        curve = run.curves[tag]
        lines.append(svg.Line(run.name, curve.steps, curve.values, number))
        chance = tag_chart.chance(run)
        if chance is not None:
            chances.add(round(chance, 6))
        if run.get("best"):
            marks.append((run.get("best")["step"], number))
    write = "{:.1%}".format if tag_chart.is_percent else "{:.4g}".format
    words = [f"{tag_chart.title} by training step."]
    for line in lines:
        first, last = write(line.y[0]), write(line.y[-1])
        words.append(f"{line.label}: {first} at step {line.x[0]}, {last} at step {line.x[-1]}.")
    words += [f"Chance: {write(level)}." for level in sorted(chances)]
    words += [f"Best step: {step}." for step, _ in marks]
    axes = svg.Axes(
        "step",
        tag_chart.is_percent,
        log_y=tag == "learning_rate" and _are_far_apart(lines),
        has_legend=has_legend,
        chances=tuple(sorted(chances)),
        marks=tuple(marks),
    )
    drawing = Markup(svg.draw_lines(lines, axes, f"curve-{tag.replace('/', '-')}"))
    return Chart(tag_chart.title, tag_chart.caption, " ".join(words), drawing)


def _are_far_apart(lines):
    """Whether on one linear axis some of the lines would lie flat at the bottom."""
    peaks = [line.y.max() for line in lines]
    return min(peaks) > 0 and max(peaks) > FAR_APART * min(peaks)


def few_labels(runs: list[Run]) -> Chart | None:
    """Accuracy of the linear probe against labels a class, None where no run has it."""
    lines = []
    for number, run in enumerate(runs):
        encoder_output, _ = headline_layers(run.document)
        for network in reversed(networks_of(run.document)):
            layer = "pixels" if network == "pixels" else encoder_output
            entries = run.details(layer, "few_labels", network)
            if entries:
                lines.append(_few_labels_line(runs, number, run, network, entries))
    if len(runs) == 1:
        lines += _law_line(runs[0])
    chances = {_chance(run) for run in runs if run.num_classes} if lines else set()
    axes = svg.Axes(
        "labels of each class (logarithmic)", True, True, chances=tuple(sorted(chances))
    )
    return _network_chart(
        "Linear probe by labels of each class",
        "mean and standard deviation over draws of the labels",
        lines,
        axes,
        write_x=lambda x: f"{x:g}",
        name="few-labels",
    )


def _few_labels_line(runs, number, run, network, entries):
    means = np.array([entry["mean"] for entry in entries])
    spread = np.array([entry["std"] for entry in entries])
    return svg.Line(
        _line_label(runs, run, network),
        [entry["labels_per_class"] for entry in entries],
        means,
        number if network == "trained" else None,
        network,
        (means - spread, means + spread),
    )


def _law_line(run):
    """The law fitted to the curve of the trained network, in a list; empty without one."""
    layer, _ = headline_layers(run.document)
    entries, label_law = run.details(layer, "few_labels"), run.details(layer, "label_law")
    if not (entries and label_law and label_law["band"]):
        return []
    labels_of_each = entries[-1]["labels_per_class"] / label_law["labels"]
    points = label_law["band"]
    low, high = ([point[name] for point in points] for name in ("low", "high"))
    line = svg.Line(
        "fitted law",
        [round(point["labels"] * labels_of_each) for point in points],
        [point["accuracy"] for point in points],
        network=svg.LAW,
        band=(low, high),
    )
    return [line]


def by_layer(runs: list[Run]) -> list[Chart]:
    """A chart for probe and k-NN each: accuracy by depth, where a run has several layers."""
    layers = dict.fromkeys(layer for run in runs for layer in evaluated_layers(run.document))
    layers = tuple(layers)
    if len(layers) < 2:
        return []
    charts = []
    for name in LAYER_CHART_METRICS:
        lines = []
        for number, run in enumerate(runs):
            for network in reversed(networks_of(run.document)):
                lines += _depth_lines(runs, number, run, network, name, layers)
        chart = _network_chart(
            f"{_capitalized(metric(name).label)} by layer",
            "from the input to the output",
            lines,
            svg.Axes("", True, names=layers),
            write_x=lambda x: layers[x],
            name=f"layer-{name}",
        )
        if chart:
            charts.append(chart)
    return charts


def _depth_lines(runs, number, run, network, name, layers):
    """The line of a network over the layers, in a list; an empty one if it has no values."""
    xs, ys = [], []
    for x, layer in enumerate(layers):
        value = metrics_of(run.document, network, layer).get(name)
        if value is not None:
            xs.append(x)
            ys.append(value)
    if not xs:
        return []
    color = number if network == "trained" else None
    return [svg.Line(_line_label(runs, run, network), tuple(xs), tuple(ys), color, network)]


def _network_chart(title, caption, lines, axes, *, write_x, name):
    """A chart of several networks; None without lines."""
    if not lines:
        return None
    distinct = {}
    for line in lines:  # runs share what does not depend on training
        key = line.network, line.color, tuple(line.x), tuple(line.y)
        if key in distinct:
            line = dataclasses.replace(line, label=network_title(line.network))
        distinct[key] = line
    lines = list(distinct.values())
    words = [f"{title}: {caption}."]
    for line in lines:
        values = [f"{write_x(x)}: {y:.1%}" for x, y in zip(line.x, line.y)]
        words.append(f"{line.label}: {', '.join(values)}.")
    return Chart(title, caption, " ".join(words), Markup(svg.draw_lines(lines, axes, name)))


def _line_label(runs, run, network):
    if len(runs) == 1:
        return network_title(network)
    return run.name if network == TRAINED else f"{run.name}, {network_title(network)}"


def calibration(run: Run, number: int) -> Chart | None:
    """The reliability diagram of a run's classifier, None without one."""
    bins = run.details(CLASSIFIER, "reliability")
    if not bins or not any(b["count"] for b in bins):
        return None
    error = metrics_of(run.document, "trained", CLASSIFIER).get("expected_calibration_error")
    words = ["Accuracy by confidence."]
    for b in bins:
        if b["count"] and b["accuracy"] is not None:
            sure, right = f"{b['confidence']:.0%} sure", f"{b['accuracy']:.0%} right"
            words.append(f"{sure}: {right}, {b['count']} images.")
    caption = (
        f"calibration error (ECE) {format_value('expected_calibration_error', error)}: below the "
        "dashed line the classifier is too sure, above it too modest"
    )
    drawing = Markup(svg.draw_reliability(bins, f"reliability-{number}"))
    return Chart("Reliability", caption, " ".join(words), drawing)
