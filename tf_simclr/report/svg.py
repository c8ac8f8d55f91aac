"""Lines and levels -> SVG that takes its colors from the page, light or dark."""

import base64
import dataclasses
import io
import re

import numpy as np

# Inches of 72 units; narrow, so that the text can be read on a phone.
WIDTH = 5.0
HEIGHT = 3.1
LEGEND_ROW = 0.22  # inches
NUM_COLORS = 8
# matplotlib draws with these; the page knows them by the names of CSS variables.
INK = "#010203"
MUTED = "#010204"
GRID = "#010205"
SERIES = [f"#0102{16 + number:02x}" for number in range(NUM_COLORS)]
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    **{color: f"--c{number}" for number, color in enumerate(SERIES)},
}
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
LEVEL_DASHES = (0, (6, 3))
MARK_DASHES = (0, (1, 2))
NUM_MARKERS = 6  # on a line
LONG_LABEL = 22  # characters from which a legend has one column
RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tf_simclr",
    "text.parse_math": False,
    "font.size": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "legend.fontsize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "text.color": INK,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "axes.unicode_minus": True,
    "axes.formatter.limits": (-3, 5),
    "axes.formatter.useoffset": False,
}


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
        has_legend: also for one line.
        names: of x = 0, 1, ...
        chances: levels.
        marks: ((x, color), ...), the best steps.
    """

    x: str
    is_percent: bool = False
    log_x: bool = False
    log_y: bool = False
    has_legend: bool = False
    names: tuple[str, ...] = ()
    chances: tuple[float, ...] = ()
    marks: tuple[tuple[float, int], ...] = ()


def draw_lines(lines: list[Line], axes: Axes, name: str) -> str:
    """An SVG of some lines; `name` tells its ids from those of other charts on the page."""
    legend_rows = len(lines) // _legend_columns(lines) if len(lines) > 2 else 0
    height = HEIGHT + LEGEND_ROW * legend_rows
    return _svg(lambda figure: _draw_lines(figure, lines, axes), name, height)


def _draw_lines(figure, lines, axes):
    plot = figure.subplots()
    for line in lines:
        _draw_line(plot, line)
    for level in axes.chances:
        _draw_chance(plot, level)
    for step, color in axes.marks:
        _draw_mark(plot, step, color)
    _set_scales(plot, lines, axes)
    _set_ticks(plot, lines, axes)
    if len(lines) > 1 or axes.has_legend:
        figure.legend(loc="outside lower left", ncols=_legend_columns(lines))


def _legend_columns(lines):
    return 1 if max(len(line.label) for line in lines) > LONG_LABEL else 2


def _draw_line(plot, line):
    color = MUTED if line.color is None else SERIES[line.color % NUM_COLORS]
    of_run = PUBLISHED_MARKER if line.color is None else MARKERS[line.color % len(MARKERS)]
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
        label=_shortened(line.label),
    )
    if line.band is not None:
        low, high = line.band
        plot.fill_between(line.x, low, high, color=color, alpha=0.18, linewidth=0)


def _draw_chance(plot, level):
    plot.axhline(level, color=MUTED, linewidth=1.2, linestyle=LEVEL_DASHES, zorder=1)
    plot.annotate(
        "chance",
        (1, level),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="right",
        va="bottom",
        color=MUTED,
        fontsize=10,
    )


def _draw_mark(plot, step, color):
    line_color = SERIES[color % NUM_COLORS]
    plot.axvline(step, color=line_color, linewidth=1.2, linestyle=MARK_DASHES, zorder=1)
    plot.annotate(
        "best",
        (step, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, 0),
        textcoords="offset points",
        ha="left",
        va="bottom",
        color=MUTED,
        fontsize=10,
    )


def _set_scales(plot, lines, axes):
    plot.set_xlabel(axes.x)
    plot.margins(x=0.03, y=0.1)
    if axes.log_y:
        plot.set_yscale("log")
        lowest_peak = min(np.max(line.y) for line in lines)
        plot.set_ylim(lowest_peak / 100)  # a schedule begins and ends at 0
        plot.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if axes.is_percent:
        plot.yaxis.set_major_formatter(_percent)
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


def _percent(value, _):
    return f"{value:.0%}"


def draw_reliability(bins: list[dict], name: str) -> str:
    """An SVG of accuracy against confidence; the size of each bin stands beneath.

    Args:
        bins: [{"from", "to", "confidence", "accuracy", "count"}].
        name: tells its ids from those of other charts on the page.
    """
    return _svg(lambda figure: _draw_reliability(figure, bins), name, HEIGHT + 0.5)


def _draw_reliability(figure, bins):
    upper, lower = figure.subplots(2, height_ratios=(4, 1), sharex=True)
    filled = [b for b in bins if b["count"] and b["accuracy"] is not None]
    accuracies = [b["accuracy"] for b in filled]
    upper.plot(
        [0, 1], [0, 1], color=MUTED, linewidth=1.2, linestyle=LEVEL_DASHES, label="as right as sure"
    )
    upper.bar(
        [b["from"] for b in filled],
        accuracies,
        [b["to"] - b["from"] for b in filled],
        align="edge",
        color=SERIES[0],
        alpha=0.25,
        linewidth=0,
    )
    confidences = [b["confidence"] for b in filled]
    upper.plot(confidences, accuracies, color=SERIES[0], marker="o", label="this classifier")
    lower.bar(
        [b["from"] for b in bins],
        [b["count"] for b in bins],
        [b["to"] - b["from"] for b in bins],
        align="edge",
        color=MUTED,
        alpha=0.5,
        linewidth=0,
    )
    upper.set_ylabel("accuracy")
    lower.set_ylabel("images")
    upper.set(xlim=(0, 1), ylim=(0, 1.03))
    for axis in (upper.yaxis, lower.xaxis):
        axis.set_major_formatter(_percent)
    lower.yaxis.get_major_locator().set_params(nbins=2)
    lower.set_xlabel("confidence")
    figure.legend(loc="outside lower left", ncols=2)


def heat(matrix: np.ndarray) -> str:
    """A matrix as a picture with one pixel for each number, its opacity.

    The page gives the color.

    Args:
        matrix: [C, C] in [0, 1].

    Returns:
        A data: URI of a PNG.
    """
    from matplotlib.image import imsave  # late: it takes a second to import

    pixels = np.zeros([*matrix.shape, 4])
    pixels[..., 3] = np.sqrt(matrix)  # a few mistakes among many images have to be seen, too
    file = io.BytesIO()
    imsave(file, pixels, format="png", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _svg(draw, name, height):
    import matplotlib  # late: it takes a second to import
    from matplotlib.figure import Figure

    file = io.StringIO()
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **RC}):
        figure = Figure((WIDTH, height), layout="constrained")
        draw(figure)
        no_metadata = {"Date": None, "Creator": None}
        figure.savefig(file, format="svg", transparent=True, metadata=no_metadata)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style).*?</\1>", "", text, flags=re.DOTALL)
    # < and > in a text are entities, so this is tags only.
    return re.sub(r"<[^>]*>", lambda tag: _adapted(tag[0], name), text)


def _adapted(tag, name):
    """One tag with the page's colors and font, and ids of its own."""
    tag = re.sub(r"#0102[01][0-9a-f]", lambda color: f"var({VARIABLES[color[0]]})", tag)
    tag = re.sub(r'\b(id="|href="#|url\(#)', rf"\1{name}-", tag)
    tag = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", tag)
    return re.sub(
        r'^<svg .*?(viewBox="[^"]*").*', r'<svg \1 aria-hidden="true">', tag, flags=re.DOTALL
    )


def _shortened(label):
    return label if len(label) <= 40 else f"{label[:24]}…{label[-15:]}"
