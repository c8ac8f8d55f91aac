"""matplotlib's drawings -> SVG that takes its colors from the page, light or dark."""

import base64
import io
import re
from collections.abc import Callable

import numpy as np

# Inches of 72 units; narrow, so that the text can be read on a phone.
WIDTH = 5.0
HEIGHT = 3.1
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
LEVEL_DASHES = (0, (6, 3))
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


def percent(value: float, _) -> str:
    """A percentage, as matplotlib asks for the text of a tick."""
    return f"{value:.0%}"


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


def render(draw: Callable, name: str, height: float) -> str:
    """The SVG of a drawing.

    Args:
        draw: a function that draws on an empty figure of matplotlib.
        name: tells its ids from those of other drawings on the page.
        height: inches.
    """
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
