"""How often a classifier is right, by how sure it is -> SVG."""

from tf_simclr.report import svg
from tf_simclr.report.svg import HEIGHT, LEVEL_DASHES, MUTED, SERIES


def draw(bins: list[dict], name: str) -> str:
    """An SVG of accuracy against confidence; the size of each bin stands beneath.

    Args:
        bins: [{"from", "to", "confidence", "accuracy", "count"}].
        name: tells its ids from those of other charts on the page.
    """
    return svg.render(lambda figure: _draw(figure, bins), name, HEIGHT + 0.5)


def _draw(figure, bins):
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
        axis.set_major_formatter(svg.percent)
    lower.yaxis.get_major_locator().set_params(nbins=2)
    lower.set_xlabel("confidence")
    figure.legend(loc="outside lower left", ncols=2)
