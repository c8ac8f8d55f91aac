"""The charts of what was evaluated: of runs -> lines."""

import dataclasses

import numpy as np
from markupsafe import Markup

from tf_simclr.report import line_chart, reliability_chart
from tf_simclr.report.evaluated import (
    CLASSIFIER,
    TRAINED,
    evaluated_layers,
    has_learned_labels,
    headline_layers,
    metrics_of,
    network_title,
    networks_of,
)
from tf_simclr.report.label_answer import LAW_INTERVAL
from tf_simclr.report.metric_names import calibration_error_text, metric
from tf_simclr.report.runs import Run
from tf_simclr.report.wording import capitalized

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


def accuracy_of_guesses(run: Run) -> float | None:
    """The accuracy of guesses, None without classes."""
    return 1 / run.num_classes if run.num_classes else None


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
    law_line = _law_line(runs[0]) if len(runs) == 1 else []
    lines += law_line
    chances = {accuracy_of_guesses(run) for run in runs if run.num_classes} if lines else set()
    axes = line_chart.Axes(
        "labels of each class (logarithmic)", True, True, chances=tuple(sorted(chances))
    )
    return _network_chart(
        "Linear probe by labels of each class",
        _few_labels_caption(runs, law_line),
        lines,
        axes,
        write_x=lambda x: f"{x:g}",
        name="few-labels",
    )


def _few_labels_caption(runs, law_line):
    caption = "accuracy, mean and standard deviation over draws of the labels"
    if law_line:
        caption += f"; of the fitted law: {LAW_INTERVAL}"
    learned = [run.name for run in runs if has_learned_labels(run.document)]
    if learned:
        names = ", ".join(learned)
        caption += f"; trained on these labels, so it foretells nothing of further ones: {names}"
    return caption


def _few_labels_line(runs, number, run, network, entries):
    means = np.array([entry["mean"] for entry in entries])
    spread = np.array([entry["std"] for entry in entries])
    return line_chart.Line(
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
    is_known = entries and label_law and label_law["band"]
    if not is_known or has_learned_labels(run.document):
        return []
    points = label_law["band"]
    # A small class runs out of labels: their number in all does not grow as that of each class.
    measured = {entry.get("labels"): entry["labels_per_class"] for entry in entries}
    labels_of_each = entries[-1]["labels_per_class"] / label_law["labels"]
    xs = []
    for point in points:
        beyond = round(point["labels"] * labels_of_each)
        xs.append(measured.get(point["labels"], beyond))
    low, high = ([point[name] for point in points] for name in ("low", "high"))
    line = line_chart.Line(
        "fitted law",
        xs,
        [point["accuracy"] for point in points],
        network=line_chart.LAW,
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
            f"{capitalized(metric(name).label)} by layer",
            "from the input to the output",
            lines,
            line_chart.Axes("", True, names=layers),
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
    return [line_chart.Line(_line_label(runs, run, network), tuple(xs), tuple(ys), color, network)]


def _network_chart(title, caption, lines, axes, *, write_x, name):
    """A chart of several networks; None without lines."""
    if not lines:
        return None
    lines = _distinct(lines)
    words = [f"{title}: {caption}."]
    for line in lines:
        values = [f"{write_x(x)}: {y:.1%}" for x, y in zip(line.x, line.y)]
        words.append(f"{line.label}: {', '.join(values)}.")
    return Chart(title, caption, " ".join(words), Markup(line_chart.draw(lines, axes, name)))


def _distinct(lines):
    """Each line once: runs share what does not depend on training.

    It goes by the name of its first run, or by that of the network if all runs share one line.
    """
    alike = {}
    for line in lines:
        key = line.network, line.color, tuple(line.x), tuple(line.y)
        alike.setdefault(key, []).append(line)
    networks = [network for network, *_ in alike]
    drawn = []
    for first, *others in alike.values():
        if others and networks.count(first.network) == 1:
            first = dataclasses.replace(first, label=network_title(first.network))
        drawn.append(first)
    return drawn


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
    by_chance = run.details(CLASSIFIER, "calibration_error_by_chance")
    caption = (
        f"calibration error (ECE) {calibration_error_text(error, by_chance)}: below the dashed "
        "line the classifier is too sure, above it too modest"
    )
    drawing = Markup(reliability_chart.draw(bins, f"reliability-{number}"))
    return Chart("Reliability", caption, " ".join(words), drawing)
