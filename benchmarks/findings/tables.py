"""A table and a plot of a finding, over seeds."""

import math
import statistics

import numpy as np

from benchmarks.findings import grid
from benchmarks.findings.grid import Finding

NOT_RUN = "not run"


def collect(finding: Finding, results: list[dict[str, dict]]) -> dict[tuple[str, str], list[float]]:
    """{(line, column): values of the seeds that have it}, in the order of the table.

    NaN is the value of a seed that diverged.

    Args:
        finding: whose results they are.
        results: of each seed, as `runs.read_results` returns them.
    """
    values = {cell: [] for cell, _, _ in grid.cells(finding)}
    for of_seed in results:
        for cell, value in grid.read(finding, of_seed).items():
            values[cell].append(value)
    return values


def lines_and_columns(values: dict) -> tuple[list[str], list[str]]:
    """The names of the lines and of the columns, in order."""
    lines = dict.fromkeys(line for line, _ in values)
    columns = dict.fromkeys(column for _, column in values)
    return list(lines), list(columns)


def table(values: dict) -> str:
    """Markdown: the mean over the seeds with its standard error, and how many of them diverged."""
    lines, columns = lines_and_columns(values)
    text = [f"| | {' | '.join(columns)} |", f"|---|{'--:|' * len(columns)}"]
    for line in lines:
        texts = [_cell(values.get((line, column))) for column in columns]
        text.append(f"| {line} | {' | '.join(texts)} |")
    return "\n".join(text)


def _cell(values):
    if values is None:  # no stage has it
        return ""
    if not values:
        return NOT_RUN
    finite = _finite(values)
    if not finite:
        return grid.DIVERGED
    text = f"{statistics.fmean(finite):.1f}"
    if len(finite) > 1:
        text += f" ± {standard_error(finite):.1f}"
    num_diverged = len(values) - len(finite)
    return f"{text}; {num_diverged} {grid.DIVERGED}" if num_diverged else text


def contrast_table(finding: Finding, results: list[dict[str, dict]]) -> str:
    """Markdown: the mean of each contrast over the seeds that have it, with its standard error.

    Args:
        finding: whose contrasts they are.
        results: of each seed, as `runs.read_results` returns them.
    """
    text = ["| difference, seed by seed | points |", "|---|--:|"]
    metrics_of_seeds = [grid.read(finding, of_seed) for of_seed in results]
    for contrast in finding.contrasts:
        differences = [difference(contrast, metrics) for metrics in metrics_of_seeds]
        known = [value for value in differences if value is not None]
        text.append(f"| {contrast.text} | {_cell(known)} |")
    return "\n".join(text)


def difference(contrast: grid.Contrast, metrics: dict[tuple[str, str], float]) -> float | None:
    """A contrast of one seed.

    Args:
        contrast: of cells of the table.
        metrics: of `grid.read`.

    Returns:
        NaN where a cell diverged, None where one is missing.
    """
    if not {*contrast.above, *contrast.below} <= metrics.keys():
        return None
    above = sum(metrics[cell] for cell in contrast.above)
    return above - sum(metrics[cell] for cell in contrast.below)


def standard_error(values: list[float]) -> float:
    """Of the mean of several values; NaN of fewer than two."""
    if len(values) < 2:
        return math.nan
    return statistics.stdev(values) / math.sqrt(len(values))


def _finite(values):
    return [value for value in values if not math.isnan(value)]


def write_plot(path: str, finding: Finding, values: dict):
    """Means with bars of two standard errors, or a heat map of means."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    chart, axes = pyplot.subplots(figsize=(7, 4.5))
    draw = _draw_matrix if finding.is_matrix else _draw_lines
    draw(axes, values)
    axes.set_title(finding.measure, fontsize="medium")
    chart.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(chart)


def _draw_lines(axes, values):
    lines, columns = lines_and_columns(values)
    for number, line in enumerate(lines):
        points = [_finite(values.get((line, column), [])) or [math.nan] for column in columns]
        means = np.array([statistics.fmean(point) for point in points])
        bars = [2 * standard_error(point) for point in points]
        # Beside each other, so that bars do not hide bars.
        positions = np.arange(len(columns)) + 0.3 * (number / len(lines) - 0.5)
        axes.errorbar(positions, means, bars, label=line, marker="o", capsize=2)
    axes.set_xticks(range(len(columns)), columns)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _draw_matrix(axes, values):
    lines, columns = lines_and_columns(values)
    means = np.full([len(lines), len(columns)], math.nan)
    for (line, column), of_seeds in values.items():
        finite = _finite(of_seeds)
        if finite:
            position = lines.index(line), columns.index(column)
            means[position] = means[position[::-1]] = statistics.fmean(finite)
    axes.imshow(means, alpha=0.5)
    for (row, column), mean in np.ndenumerate(means):
        if not math.isnan(mean):
            axes.text(column, row, f"{mean:.1f}", ha="center", va="center")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(lines)), lines)
