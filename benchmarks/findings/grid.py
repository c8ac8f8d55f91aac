"""A finding as a grid of trainings: their flags, and what a table has of their results."""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterator

SERIES, METRIC = "series", "metric"  # two axes that every grid has: names of series and of metrics
DIVERGED = "diverged"  # a key of the results of a stage that has no metrics


@dataclasses.dataclass(frozen=True)
class Series:
    """Stages that differ by the labels of some axes: one for each combination.

    Attributes:
        mode: of the training.
        axes: names of the axes.
        flags: {flag name: value} that they have besides those of their labels; in a text
            `{folder}` is the folder of the finding.
        starts: {checkpoint flag: name of a series}: the stage of it with the same labels.
        metrics: {label: names in `result.json`, of which the first that is there counts}; empty:
            the table has none of its stages, others start from them.
    """

    mode: str
    axes: tuple[str, ...] = ()
    flags: dict = dataclasses.field(default_factory=dict)
    starts: dict[str, str] = dataclasses.field(default_factory=dict)
    metrics: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Contrast:
    """What a claim says is above 0: a difference of cells of the table, taken seed by seed.

    Attributes:
        text: what it is.
        above: [(line, column)] that are added.
        below: those that are subtracted.
    """

    text: str
    above: tuple[tuple[str, str], ...]
    below: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Finding:
    """A claim of the papers, and the grid that tries it.

    What all stages share is the recipe official_configs/findings/NAME.yaml.

    Attributes:
        claim: what the papers say, and where.
        measure: what the numbers of the table are.
        axes: {axis: {label: {flag name: value}}}.
        series: {name: `Series`}, in the order in which they are trained.
        lines: the axes of the lines of the table.
        columns: the axis of its columns.
        contrasts: what the claim says of the table.
        has_stage: a function of {axis: label}: whether there is such a stage.
        is_matrix: whether it is drawn as a heat map.
        make_data: writes further images into a folder; None: there are none.
    """

    claim: str
    measure: str
    axes: dict[str, dict[str, dict]]
    series: dict[str, Series]
    lines: tuple[str, ...]
    columns: str
    contrasts: tuple[Contrast, ...] = ()
    has_stage: Callable[[dict], bool] = lambda labels: True
    is_matrix: bool = False
    make_data: Callable[[str], None] | None = None


@dataclasses.dataclass(frozen=True)
class Stage:
    """A training of a grid.

    Attributes:
        name: of the stage.
        series: name of its series.
        labels: {axis: label}.
    """

    name: str
    series: str
    labels: dict[str, str]


def stages(finding: Finding) -> Iterator[Stage]:
    """The stages of a grid, in the order in which they are trained."""
    for name, series in finding.series.items():
        for combination in itertools.product(*(finding.axes[axis] for axis in series.axes)):
            labels = dict(zip(series.axes, combination))
            if finding.has_stage(labels):
                yield Stage(stage_name(finding, name, labels), name, labels)


def stage_name(finding: Finding, name: str, labels: dict[str, str]) -> str:
    """The name of a stage of the series `name`; labels of axes that it does not have are unused."""
    series = finding.series[name]
    words = [name, *(labels[axis] for axis in series.axes)]
    suffix = "_".join(re.sub(r"\W+", "_", word).strip("_") for word in words)
    return f"{series.mode}-{suffix}"


def stage_flags(finding: Finding, stage: Stage, folder: str) -> dict[str, str]:
    """{flag name: value} of a stage. folder: of the finding."""
    series = finding.series[stage.series]
    flags = dict(series.flags)
    for axis, label in stage.labels.items():
        flags |= finding.axes[axis][label]
    for flag, start in series.starts.items():
        flags[flag] = stage_name(finding, start, stage.labels)
    return {flag: str(value).format(folder=folder) for flag, value in flags.items()}


def cells(finding: Finding) -> Iterator[tuple[tuple[str, str], Stage, tuple[str, ...]]]:
    """Yields ((line, column), stage, names of its metric in `result.json`) of the whole table."""
    for stage in stages(finding):
        for label, keys in finding.series[stage.series].metrics.items():
            coordinates = {**stage.labels, SERIES: stage.series, METRIC: label}
            line = [coordinates[axis] for axis in finding.lines if axis in coordinates]
            yield (", ".join(line), coordinates[finding.columns]), stage, keys


def read(finding: Finding, results: dict[str, dict]) -> dict[tuple[str, str], float]:
    """{(line, column): metric in percent} of what was measured, NaN where the training diverged.

    Args:
        finding: whose table it is.
        results: {name of a stage: content of its `result.json`}.
    """
    metrics = {}
    for cell, stage, keys in cells(finding):
        result = results.get(stage.name, {})
        key = next((key for key in keys if key in result), None)
        if DIVERGED in result:
            metrics[cell] = math.nan
        elif key is not None:
            metrics[cell] = 100 * result[key]
    return metrics


def numbered(flag: str, values: list, text: str) -> dict[str, dict]:
    """An axis that is one flag. text: of a label, with {} for the value."""
    return {text.format(value): {flag: value} for value in values}
