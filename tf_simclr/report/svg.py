"""Lines and levels -> SVG that takes its colours from the page, light or dark."""

import base64
import dataclasses
import io
import re

import numpy as np

WIDTH, HEIGHT = 5.0, 3.1  # inches of 72 units; narrow, so that the text can be read on a phone
NUM_COLORS = 8
# matplotlib draws with these; the page knows them by the names of CSS variables.
INK, MUTED, GRID = "#010203", "#010204", "#010205"
SERIES = [f"#0102{16 + number:02x}" for number in range(NUM_COLORS)]
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    **{color: f"--c{number}" for number, color in enumerate(SERIES)},
}
MARKERS = "osD^vP*X"
DASHES = {"trained": "-", "untrained": (0, (5, 2)), "pixels": (0, (1, 1.5))}
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
    """x, y: numbers [N]. color: of the run, None for a baseline. network: its dashes. spread: half the width of a band around y, or None."""

    label: str
    x: object
    y: object
    color: int | None = 0
    network: str = "trained"
    spread: object = None


@dataclasses.dataclass(frozen=True)
class Axes:
    """What stands around the lines. legend: also for one line; names: of x = 0, 1, ...; chances: levels; marks: [(x, color)], the best steps."""

    x: str
    percent: bool = False
    log_x: bool = False
    log_y: bool = False
    legend: bool = False
    names: tuple[str, ...] = ()
    chances: tuple[float, ...] = ()
    marks: tuple[tuple[float, int], ...] = ()


def lines(drawn, around, name):
    """An SVG of some `Line`s; `name` tells its ids from those of other charts on the page."""
    return _svg(
        lambda figure: _lines(figure, drawn, around),
        name,
        HEIGHT + 0.22 * (len(drawn) // 2 if len(drawn) > 2 else 0),
    )


def _lines(figure, drawn, around):
    axes = figure.subplots()
    for line in drawn:
        color = MUTED if line.color is None else SERIES[line.color % NUM_COLORS]
        shape = (
            MARKERS[(line.color or 0) % len(MARKERS)]
            if line.network == "trained"
            else {"untrained": "s", "pixels": "^"}[line.network]
        )
        every = max(len(line.x) // 6, 1)
        axes.plot(
            line.x,
            line.y,
            color=color,
            linestyle=DASHES[line.network],
            marker=shape,
            markevery=(every // 2, every),
            markerfacecolor=color,
            label=_short(line.label),
        )
        if line.spread is not None:
            low, high = np.subtract(line.y, line.spread), np.add(line.y, line.spread)
            axes.fill_between(line.x, low, high, color=color, alpha=0.18, linewidth=0)
    for level in around.chances:
        axes.axhline(level, color=MUTED, linewidth=1.2, linestyle=(0, (6, 3)), zorder=1)
        axes.annotate(
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
    for step, color in around.marks:
        axes.axvline(
            step, color=SERIES[color % NUM_COLORS], linewidth=1.2, linestyle=(0, (1, 2)), zorder=1
        )
        axes.annotate(
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
    _ticks(axes, drawn, around)
    if len(drawn) > 1 or around.legend:
        figure.legend(
            loc="outside lower left", ncols=1 if max(len(line.label) for line in drawn) > 22 else 2
        )


def _ticks(axes, drawn, around):
    axes.set_xlabel(around.x)
    axes.margins(x=0.03, y=0.1)
    if around.log_y:
        axes.set_yscale("log")
        axes.set_ylim(
            min(np.max(line.y) for line in drawn) / 100
        )  # a schedule begins and ends at 0
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if around.percent:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_ylim(max(axes.get_ylim()[0], -0.02), min(axes.get_ylim()[1], 1.02))
    if around.log_x:
        values = sorted({value for line in drawn for value in line.x})
        axes.set_xscale("log")
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()
    elif around.names:
        many = len(around.names) > 3
        axes.set_xticks(
            range(len(around.names)),
            around.names,
            rotation=30 if many else 0,
            ha="right" if many else "center",
        )
    else:
        axes.xaxis.get_major_locator().set_params(nbins=5, integer=True)


def reliability(bins, name):
    """An SVG of accuracy against confidence, [{"from", "to", "confidence", "accuracy", "count"}]; how many predictions each bin has stands beneath."""
    return _svg(lambda figure: _reliability(figure, bins), name, HEIGHT + 0.5)


def _reliability(figure, bins):
    upper, lower = figure.subplots(2, height_ratios=(4, 1), sharex=True)
    filled = [one for one in bins if one["count"] and one["accuracy"] is not None]
    left, width = [one["from"] for one in bins], [one["to"] - one["from"] for one in bins]
    upper.plot(
        [0, 1], [0, 1], color=MUTED, linewidth=1.2, linestyle=(0, (6, 3)), label="as right as sure"
    )
    upper.bar(
        [one["from"] for one in filled],
        [one["accuracy"] for one in filled],
        [one["to"] - one["from"] for one in filled],
        align="edge",
        color=SERIES[0],
        alpha=0.25,
        linewidth=0,
    )
    upper.plot(
        [one["confidence"] for one in filled],
        [one["accuracy"] for one in filled],
        color=SERIES[0],
        marker="o",
        label="this classifier",
    )
    lower.bar(
        left,
        [one["count"] for one in bins],
        width,
        align="edge",
        color=MUTED,
        alpha=0.5,
        linewidth=0,
    )
    for axes, label in ((upper, "accuracy"), (lower, "images")):
        axes.set_ylabel(label)
    upper.set(xlim=(0, 1), ylim=(0, 1.03))
    for axis in (upper.yaxis, lower.xaxis):
        axis.set_major_formatter(lambda value, _: f"{value:.0%}")
    lower.yaxis.get_major_locator().set_params(nbins=2)
    lower.set_xlabel("confidence")
    figure.legend(loc="outside lower left", ncols=2)


def heat(matrix):
    """A data: URI of a PNG with one pixel for each number of a matrix [C, C] in [0, 1], its opacity; the page gives the colour."""
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
        figure.savefig(
            file, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = file.getvalue()
    text = re.sub(r"<(metadata|style).*?</\1>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(
        r"<[^>]*>", lambda tag: _of_page(tag[0], name), text
    )  # < and > in a text are entities, so this is tags only


def _of_page(tag, name):
    """One tag with the page's colours and font, and ids of its own."""
    tag = re.sub(r"#0102[01][0-9a-f]", lambda color: f"var({VARIABLES[color[0]]})", tag)
    tag = re.sub(r'\b(id="|href="#|url\(#)', rf"\1{name}-", tag)
    tag = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", tag)
    return re.sub(
        r'^<svg .*?(viewBox="[^"]*").*', r'<svg \1 aria-hidden="true">', tag, flags=re.DOTALL
    )


def _short(label):
    return label if len(label) <= 40 else f"{label[:24]}…{label[-15:]}"
