"""Where the accuracies of a verdict and their intervals are drawn; verdict.html draws them."""

import dataclasses
import math

from tf_simclr.report.contenders import PROBE, Contender
from tf_simclr.report.evaluated import CLASSIFIER
from tf_simclr.report.verdict import Verdict
from tf_simclr.report.wording import duration, shortened

# Units of the drawing, about a pixel each on a phone, where it is as wide as the page.
WIDTH = 320
ROW = 36  # height of a row: a line of text, beneath it the interval
MARGIN = 8  # at both sides of the axis
BAR = 25  # from the top of a row to its interval
AXIS = 22  # height below the last row
TICK_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)
MAX_TICKS = 6
MAX_ROWS = 12
OF_BASELINE = "of-baseline"  # class of the style sheet
MAX_LABEL = 39  # characters, 275 units in a wide bold font; the accuracy beside it takes 40
MIN_NAME = 12  # characters of it that are left to a name


@dataclasses.dataclass(frozen=True)
class ChartRow:
    """A contender.

    Attributes:
        label: its name.
        value: its accuracy, as it is written.
        y: of its interval.
        low: x of the interval's lower end.
        x: of the accuracy.
        high: x of the upper end.
        color: class of the style sheet.
        is_used: whether the verdict says to use it.
    """

    label: str
    value: str
    y: float
    low: float
    x: float
    high: float
    color: str
    is_used: bool


@dataclasses.dataclass(frozen=True)
class VerdictChart:
    """All of the chart.

    Attributes:
        rows: from above.
        ticks: [(x, text)].
        width: of the drawing.
        bottom: y below the last row.
        height: of the drawing.
        words: what it shows, in words.
        key: what bold and gray mean, where there are any.
        left_out: contenders that are not drawn since there are too many.
    """

    rows: tuple[ChartRow, ...]
    ticks: tuple[tuple[float, str], ...]
    width: int
    bottom: int
    height: int
    words: str
    key: str
    left_out: int


def chart(verdict: Verdict) -> VerdictChart | None:
    """The chart of a verdict; None where nothing is compared."""
    contenders = _drawn(verdict)
    if not contenders:
        return None
    intervals = [contender.interval for contender in contenders]
    ticks = _ticks(min(each.low for each in intervals), max(each.high for each in intervals))

    def x_of(share):
        position = (share - ticks[0]) / (ticks[-1] - ticks[0])
        return round(MARGIN + position * (WIDTH - 2 * MARGIN), 1)

    chart_rows = []
    for number, (contender, interval) in enumerate(zip(contenders, intervals, strict=True)):
        chart_rows.append(
            ChartRow(
                _label(contender, verdict),
                f"{contender.accuracy:.1%}",
                number * ROW + BAR,
                *map(x_of, (interval.low, interval.value, interval.high)),
                _color(contender, verdict),
                contender is verdict.used,
            )
        )
    words = [f"{row.label}: {row.value}" for row in chart_rows]
    bottom = len(chart_rows) * ROW
    return VerdictChart(
        tuple(chart_rows),
        tuple((x_of(tick), f"{tick:.0%}") for tick in ticks),
        WIDTH,
        bottom,
        bottom + AXIS,
        f"Accuracies with 95% intervals. {'; '.join(words)}.",
        _key(chart_rows),
        len(verdict.contenders) - len(chart_rows),
    )


def _key(chart_rows):
    sentences = []
    if any(row.is_used for row in chart_rows):
        sentences.append("Bold: what the verdict says to use.")
    if any(row.color == OF_BASELINE for row in chart_rows):
        sentences.append(
            "Gray: linear probes on raw pixels and on networks that were not trained here."
        )
    return " ".join(sentences)


def _drawn(verdict):
    """Baselines and probes first; of too many those with the highest accuracies."""
    contenders = sorted(verdict.contenders, key=lambda each: -each.accuracy)[:MAX_ROWS]
    ordered = [each for each in verdict.contenders if each in contenders]
    return sorted(ordered, key=lambda each: each.kind == CLASSIFIER)


def _ticks(low, high):
    """Shares from below the lowest to above the highest, at equal steps."""
    for step in TICK_STEPS:
        first, last = math.floor(low / step), math.ceil(high / step)
        if last - first < MAX_TICKS:
            break
    last = max(last, first + 1)
    return [number * step for number in range(first, last + 1)]


def _label(contender, verdict):
    """The name of a contender and its time of training, or what a probe is on."""
    name = contender.name.removeprefix("the ")
    if contender.kind != CLASSIFIER:
        return shortened(name, MAX_LABEL)
    suffix = ""
    if contender.labels != _stated_labels(verdict):
        labels = str(contender.labels).replace("selected labels", "selected")
        suffix += f", {labels}"
    minutes = contender.run.facts.get("train_minutes")
    if minutes is not None:
        suffix += f", {duration(minutes)}"
    return shortened(name, max(MAX_LABEL - len(suffix), MIN_NAME)) + suffix


def _stated_labels(verdict):
    """Of the contenders that are no networks: all have the labels that the verdict is on."""
    others = [each for each in verdict.contenders if each.kind != CLASSIFIER]
    return (others or verdict.contenders)[0].labels


def _color(contender: Contender, verdict: Verdict) -> str:
    if contender.kind == PROBE:
        return "of-probe"
    if contender.kind != CLASSIFIER:
        return OF_BASELINE
    if contender.labels != _stated_labels(verdict):
        return "of-other-labels"
    return "of-supervised" if contender.is_supervised else "of-network"
