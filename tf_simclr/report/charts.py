"""Which charts the page has: of runs -> lines."""

import dataclasses
import math

from markupsafe import Markup

from tf_simclr.report import svg
from tf_simclr.report.metric_names import (
    NETWORKS,
    PERCENT,
    evaluated_layers,
    format_value,
    headline_layers,
    metric,
    metrics_of,
)


@dataclasses.dataclass(frozen=True)
class Chart:
    """An SVG with its title, a line on how to read it, and what it shows in words."""

    title: str
    caption: str
    words: str
    svg: Markup


def _last(tag):
    """A function, run -> the last value of its curve `tag`, or None."""
    return lambda run: float(run.curves[tag].values[-1]) if tag in run.curves else None


def _batch(run):
    """Images in a batch, among which positives are looked for."""
    return run.get("flags").get("train_batch_size")


def _labeled_batches(run):
    """Whether several images of a batch have a label; with fewer their accuracy jumps between 0 and 1."""
    labels, images = run.facts.get("labels"), run.facts.get("images")
    return not (labels and images and _batch(run)) or labels / images * _batch(run) >= 8


def _guess(run):
    return 1 / run.classes if run.classes else None


@dataclasses.dataclass(frozen=True)
class Tag:
    """A scalar of TensorBoard as a chart. chance: a function, run -> level or None; of: run -> whether it is shown."""

    title: str
    caption: str
    percent: bool = False
    chance: object = lambda run: None
    of: object = lambda run: True


TAGS = {
    "train/contrast_loss": Tag(
        "Contrastive loss",
        "lower is better; at chance the views of an image are not told from those of others",
        chance=_last("train/contrast_chance"),
    ),
    "train/pretext_loss": Tag(
        "Loss of the pretext task",
        "lower is better; chance is what a trivial answer costs",
        chance=_last("train/pretext_chance"),
    ),
    "train/supervised_loss": Tag(
        "Loss on the labels",
        "cross-entropy of the linear classifier",
        chance=lambda run: run.classes and math.log(run.classes),
        of=_labeled_batches,
    ),
    "train/distill_loss": Tag(
        "Distillation loss", "cross-entropy of the teacher's and the student's predictions"
    ),
    "train/total_loss": Tag("Total loss", "everything that is minimised, weight decay included"),
    "train/contrast_acc": Tag(
        "Positives found",
        "how often the other view of an image is the most similar one of the batch",
        True,
        lambda run: _batch(run) and 1 / _batch(run),
    ),
    "train/pretext_acc": Tag(
        "Right answers of the pretext task", "on the batches of the training", True
    ),
    "train/contrast_entropy": Tag(
        "Entropy of the contrastive choice",
        "high: undecided; low: sure",
        chance=lambda run: _batch(run) and math.log(_batch(run)),
    ),
    "train/supervised_acc": Tag(
        "Accuracy on the training labels",
        "of the linear classifier, on augmented images",
        True,
        _guess,
        _labeled_batches,
    ),
    "train/teacher_agreement": Tag(
        "Agreement with the teacher",
        "how often the student's first choice is the teacher's",
        True,
        _guess,
    ),
    "learning_rate": Tag("Learning rate", "warm-up, then the schedule"),
    "train/embedding_std": Tag(
        "Spread of the embeddings", "near 0 they have collapsed to one point"
    ),
}
MONITOR = "monitor/"


def curves(runs):
    """A chart for each tag that a run has."""
    watched = sorted({tag for run in runs for tag in run.curves if tag.startswith(MONITOR)})
    kinds = {**TAGS, **{tag: _monitor(tag) for tag in watched}}
    shown = {
        tag: [
            (number, run) for number, run in enumerate(runs) if tag in run.curves and kind.of(run)
        ]
        for tag, kind in kinds.items()
    }
    return [
        _curve(having, tag, kinds[tag], len(runs) > 1) for tag, having in shown.items() if having
    ]


def _monitor(tag):
    shown = metric(tag.removeprefix(MONITOR))
    chance = _guess if tag.endswith(("knn_accuracy", "probe_accuracy")) else lambda run: None
    return Tag(
        f"{shown.label[:1].upper()}{shown.label[1:]} while training",
        shown.explanation or "watched during the training",
        shown.format == PERCENT,
        chance,
    )


def _curve(having, tag, kind, legend):
    """having: [(number, run)]."""
    drawn = [
        svg.Line(run.name, run.curves[tag].steps, run.curves[tag].values, number)
        for number, run in having
    ]
    chances = {
        round(level, 6) for level in (kind.chance(run) for _, run in having) if level is not None
    }
    marks = tuple((run.get("best")["step"], number) for number, run in having if run.get("best"))
    show = "{:.1%}".format if kind.percent else "{:.4g}".format
    words = [f"{kind.title} by training step."]
    words += [
        f"{line.label}: {show(line.y[0])} at step {line.x[0]}, {show(line.y[-1])} at step {line.x[-1]}."
        for line in drawn
    ]
    words += [f"Chance: {show(level)}." for level in sorted(chances)] + [
        f"Best step: {step}." for step, _ in marks
    ]
    around = svg.Axes(
        "step",
        kind.percent,
        log_y=tag == "learning_rate" and _far_apart(drawn),
        legend=legend,
        chances=tuple(sorted(chances)),
        marks=marks,
    )
    return Chart(
        kind.title,
        kind.caption,
        " ".join(words),
        Markup(svg.lines(drawn, around, f"curve-{tag.replace('/', '-')}")),
    )


def _far_apart(drawn):
    """Whether on one linear axis some of the lines would lie flat at the bottom."""
    peaks = [line.y.max() for line in drawn]
    return min(peaks) > 0 and max(peaks) > 20 * min(peaks)


def few_labels(runs):
    """Accuracy of the linear probe against labels a class, None where no run has it."""
    drawn = []
    for number, run in enumerate(runs):
        for network in ("trained", "untrained", "pixels"):
            rows = run.details(
                "pixels" if network == "pixels" else headline_layers(run.document)[0],
                "few_labels",
                network,
            )
            if rows:
                x, y, spread = (
                    [row[key] for row in rows] for key in ("labels_per_class", "mean", "std")
                )
                drawn.append(
                    svg.Line(
                        _called(runs, run, network),
                        x,
                        y,
                        number if network == "trained" else None,
                        network,
                        spread,
                    )
                )
    levels = tuple(sorted({_guess(run) for run in runs if run.classes})) if drawn else ()
    return _layered(
        "Linear probe by labels of each class",
        "mean and standard deviation over draws of the labels",
        drawn,
        svg.Axes("labels of each class (logarithmic)", True, True, chances=levels),
        lambda x: f"{x:g}",
        "few-labels",
    )


def by_layer(runs):
    """A chart for probe and k-NN each: accuracy by depth, where a run has several layers."""
    names = tuple(dict.fromkeys(layer for run in runs for layer in evaluated_layers(run.document)))
    if len(names) < 2:
        return []
    charts = []
    for name in ("linear_probe_accuracy", "knn_accuracy"):
        drawn = [
            line
            for number, run in enumerate(runs)
            for network in ("trained", "untrained")
            for line in _depth(runs, number, run, network, name, names)
        ]
        title = metric(name).label
        around = svg.Axes("", True, names=names)
        charts.append(
            _layered(
                f"{title[:1].upper()}{title[1:]} by layer",
                "from the input to the output",
                drawn,
                around,
                lambda x: names[x],
                f"layer-{name}",
            )
        )
    return [chart for chart in charts if chart]


def _depth(runs, number, run, network, name, names):
    points = [
        (x, metrics_of(run.document, network, layer)[name])
        for x, layer in enumerate(names)
        if metrics_of(run.document, network, layer).get(name) is not None
    ]
    if points:
        yield svg.Line(
            _called(runs, run, network),
            *zip(*points),
            number if network == "trained" else None,
            network,
        )


def _layered(title, caption, drawn, around, show, name):
    if not drawn:
        return None
    distinct = {}
    for line in drawn:  # runs share what does not depend on training
        key = line.network, line.color, tuple(line.x), tuple(line.y)
        distinct[key] = (
            dataclasses.replace(line, label=NETWORKS[line.network]) if key in distinct else line
        )
    drawn = list(distinct.values())
    words = [f"{title}: {caption}."] + [
        f"{line.label}: " + ", ".join(f"{show(x)}: {y:.1%}" for x, y in zip(line.x, line.y)) + "."
        for line in drawn
    ]
    return Chart(title, caption, " ".join(words), Markup(svg.lines(drawn, around, name)))


def _called(runs, run, network):
    if len(runs) == 1:
        return NETWORKS[network]
    return run.name if network == "trained" else f"{run.name}, {NETWORKS[network]}"


def calibration(run, number):
    """The reliability diagram of a run's classifier, None without one."""
    bins = run.details("classifier", "reliability")
    if not bins or not any(one["count"] for one in bins):
        return None
    error = metrics_of(run.document, "trained", "classifier").get("expected_calibration_error")
    words = "Accuracy by confidence. " + " ".join(
        f"{one['confidence']:.0%} sure: {one['accuracy']:.0%} right, {one['count']} images."
        for one in bins
        if one["count"] and one["accuracy"] is not None
    )
    caption = f"calibration error (ECE) {format_value('expected_calibration_error', error)}: below the dashed line the classifier is too sure, above it too modest"
    return Chart(
        "Reliability", caption, words, Markup(svg.reliability(bins, f"reliability-{number}"))
    )
