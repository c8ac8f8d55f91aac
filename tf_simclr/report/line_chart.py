"""Lines, levels and marks -> SVG."""

import dataclasses

import numpy as np

from tf_simclr.report import svg
from tf_simclr.report.svg import HEIGHT, LEVEL_DASHES, MUTED, NUM_COLORS, SERIES
from tf_simclr.report.wording import shortened

MARKERS = "osD^vP*X"
LAW = "law"  # a fitted law, beside the networks
BASELINE_MARKERS = {"untrained": "s", "pixels": "^", LAW: ""}
DASHES = {
    "trained": "-",
    "untrained": (0, (5, 2)),
    "pixels": (0, (1, 1.5)),
    LAW: "-",
}
PUBLISHED_MARKER, PUBLISHED_DASHES = "D", (0, (3, 1.5, 1, 1.5))  # of a published network
WIDTHS = {LAW: 0.9}
MARK_DASHES = (0, (1, 2))
MAX_CHANCES = 2  # levels up to which each is named; of more the highest one
NUM_MARKERS = 6  # on a line
LONG_LABEL = 22  # characters from which a legend has one column
MAX_LABEL = 40  # characters in a legend
LEGEND_ROW = 0.22  # inches
ANNOTATION = {"textcoords": "offset points", "va": "bottom", "color": MUTED, "fontsize": 10}


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        label: in the legend.
        x: numbers [N].
        y: numbers [N].
        color: number of the run, None for a baseline.
        network: whose dashes it has, or `LAW`.
        band: (low [N], high [N]) around y, or None.
    """

    label: str
    x: object
    y: object
    color: int | None = 0
    network: str = "trained"
    band: tuple | None = None


@dataclasses.dataclass(frozen=True)
class Axes:
    """What stands around the lines.

    Attributes:
        x: label of the axis.
        is_percent: whether y is written as percentages.
        log_x: whether x is logarithmic.
        log_y: whether y is logarithmic.
        from_zero: whether y begins at 0.
        has_legend: also for one line.
        names: of x = 0, 1, ...
        chances: levels, ascending.
        marks: ((x, color), ...), the best steps.
    """

    x: str
    is_percent: bool = False
    log_x: bool = False
    log_y: bool = False
    from_zero: bool = False
    has_legend: bool = False
    names: tuple[str, ...] = ()
    chances: tuple[float, ...] = ()
    marks: tuple[tuple[float, int], ...] = ()


def draw(lines: list[Line], axes: Axes, name: str) -> str:
    """An SVG of some lines; `name` tells its ids from those of other charts on the page."""
    legend_rows = len(lines) // _legend_columns(lines) if len(lines) > 2 else 0
    height = HEIGHT + LEGEND_ROW * legend_rows
    return svg.render(lambda figure: _draw(figure, lines, axes), name, height)


def _draw(figure, lines, axes):
    plot = figure.subplots()
    for line in lines:
        _draw_line(plot, line)
    named = axes.chances if len(axes.chances) <= MAX_CHANCES else axes.chances[-1:]
    for level in axes.chances:
        _draw_chance(plot, level, is_named=level in named)
    for step, color in axes.marks:
        _draw_mark(plot, step, color)
    _set_scales(plot, lines, axes)
    _set_ticks(plot, lines, axes)
    if len(lines) > 1 or axes.has_legend:
        # Explicitly: of itself Matplotlib leaves out what begins with _.
        drawn = plot.lines[: len(lines)]
        labels = [shortened(line.label, MAX_LABEL) for line in lines]
        figure.legend(drawn, labels, loc="outside lower left", ncols=_legend_columns(lines))


def look(number: int | None) -> tuple[str, str]:
    """The color and the marker of a run by its number; None: of a baseline.

    Runs with the same color have other markers, up to 64 of them.
    """
    if number is None:
        return MUTED, PUBLISHED_MARKER
    rounds, color = divmod(number, NUM_COLORS)
    return SERIES[color], MARKERS[(color + rounds) % len(MARKERS)]


def _legend_columns(lines):
    return 1 if max(len(line.label) for line in lines) > LONG_LABEL else 2


def _draw_line(plot, line):
    color, of_run = look(line.color)
    marker = BASELINE_MARKERS.get(line.network, of_run)
    every = max(len(line.x) // NUM_MARKERS, 1)
    plot.plot(
        line.x,
        line.y,
        color=color,
        linestyle=DASHES.get(line.network, PUBLISHED_DASHES),
        linewidth=WIDTHS.get(line.network),
        marker=marker,
        markevery=(every // 2, every),
        markerfacecolor=color,
        label=shortened(line.label, MAX_LABEL),
    )
    if line.band is not None:
        low, high = line.band
        plot.fill_between(line.x, low, high, color=color, alpha=0.18, linewidth=0)


def _draw_chance(plot, level, *, is_named):
    plot.axhline(level, color=MUTED, linewidth=1.2, linestyle=LEVEL_DASHES, zorder=1)
    if not is_named:
        return
    beside = {"xycoords": ("axes fraction", "data"), "xytext": (0, 2), "ha": "right"}
    plot.annotate("chance", (1, level), **beside, **ANNOTATION)


def _draw_mark(plot, step, color):
    line_color = SERIES[color % NUM_COLORS]
    plot.axvline(step, color=line_color, linewidth=1.2, linestyle=MARK_DASHES, zorder=1)
    beside = {"xycoords": ("data", "axes fraction"), "xytext": (3, 0), "ha": "left"}
    plot.annotate("best", (step, 1), **beside, **ANNOTATION)


def _set_scales(plot, lines, axes):
    plot.set_xlabel(axes.x)
    plot.margins(x=0.03, y=0.1)
    if axes.log_y:
        plot.set_yscale("log")
        lowest_peak = min(np.max(line.y) for line in lines)
        plot.set_ylim(lowest_peak / 100)  # a schedule begins and ends at 0
        plot.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if axes.from_zero:
        plot.set_ylim(0)
    if axes.is_percent:
        plot.yaxis.set_major_formatter(svg.percent)
        low, high = plot.get_ylim()
        plot.set_ylim(max(low, -0.02), min(high, 1.02))


def _set_ticks(plot, lines, axes):
    if axes.log_x:
        values = sorted({value for line in lines for value in line.x})
        plot.set_xscale("log")
        plot.set_xticks(values, [f"{value:g}" for value in values])
        plot.minorticks_off()
    elif axes.names:
        are_many = len(axes.names) > 3
        plot.set_xticks(
            range(len(axes.names)),
            axes.names,
            rotation=30 if are_many else 0,
            ha="right" if are_many else "center",
        )
    else:
        plot.xaxis.get_major_locator().set_params(nbins=5, integer=True)
