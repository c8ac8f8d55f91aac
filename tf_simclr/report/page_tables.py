"""The tables of the page: rows of text, made of runs."""

import dataclasses
import shlex

from tf_simclr.config.backbones import PIXELS
from tf_simclr.report import about_run
from tf_simclr.report.evaluated import (
    TRAINED,
    evaluated_layers,
    headline_layers,
    metrics_of,
    networks_of,
)
from tf_simclr.report.metric_names import (
    HEADLINE_METRICS,
    LABEL_FREE_METRICS,
    MetricName,
    format_value,
    in_table_order,
    metric,
    metric_family,
)
from tf_simclr.report.runs import Run, default_flags
from tf_simclr.report.wording import MISSING, flag_text, value_text

# What evaluations choose for themselves: {detail.key: label}.
CHOICE_LABELS = {
    "knn.k": "k-NN: neighbors k",
    "knn.temperature": "k-NN: temperature",
    "probe.l2_strength": "linear probe: L2 strength",
}
CHOOSING_EVALUATIONS = ("probe", "knn")


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        label: its head.
        cells: their texts.
        best: the numbers of the cells that are the best ones.
        metric: the name of the metric it is of, if of one.
        differs: whether the runs differ in it.
    """

    label: str
    cells: tuple[str, ...]
    best: frozenset[int] = frozenset()
    metric: str = ""
    differs: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        title: what it is.
        groups: ((run's name, its columns' names), ...).
        rows: in order.
    """

    title: str
    groups: tuple
    rows: tuple[Row, ...]


def comparison(runs: list[Run]) -> Table:
    """What the runs are and how well they do, side by side."""
    rows = [Row(label, texts) for label, texts in about_run.texts(runs).items()]
    columns = [metrics_of(run.document, "trained", *headline_layers(run.document)) for run in runs]
    datasets = {run.facts.get("dataset") for run in runs}
    group_size = len(columns) if len(datasets) == 1 else 1  # none is the best of different data
    for name in in_table_order(name for column in columns for name in column):
        if name in HEADLINE_METRICS or name in LABEL_FREE_METRICS:
            rows.append(_metric_row(name, columns, group_size))
    names = tuple(run.name for run in runs)
    return Table("Runs", (("", names),), tuple(rows))


def _metric_row(name, columns, group_size):
    """A metric's row over {metric: value} columns, the best of each group of columns marked."""
    texts = [format_value(name, column.get(name)) for column in columns]
    values = [column.get(name) for column in columns]
    best = set()
    for start in range(0, len(values), group_size):
        group = range(start, min(start + group_size, len(values)))
        best |= _best_cells(name, group, values, texts)
    return Row(metric(name).label, tuple(texts), frozenset(best), name)


def _best_cells(name, group, values, texts):
    """The numbers of the cells of a group that have the best value, if they differ."""
    known = [index for index in group if texts[index] != MISSING]
    better = metric(name).better
    differ = len({texts[index] for index in known}) > 1
    if not (better and differ):
        return set()
    choose = max if better == "higher" else min
    winner = choose(known, key=lambda index: values[index])
    return {index for index in group if texts[index] == texts[winner]}


def evaluations(runs: list[Run]) -> list[Table]:
    """A table for the encoder's output and the classifier together, one for each other layer."""
    headlines = {run.name: headline_layers(run.document) for run in runs}
    in_headlines = {layer for layers in headlines.values() for layer in layers}
    others = []
    for run in runs:
        for layer in evaluated_layers(run.document):
            if layer not in in_headlines and layer not in others:
                others.append(layer)
    networks = networks_of(*(run.document for run in runs))
    tables = [_layer_table(runs, "encoder output and classifier", headlines, networks)]
    for layer in others:
        layers = dict.fromkeys(headlines, (layer,))
        of_layers = {name: title for name, title in networks.items() if name != PIXELS}
        tables.append(_layer_table(runs, layer, layers, of_layers))
    return [table for table in tables if table.rows]


def _layer_table(runs, title, layers, networks):
    """A table of some layers. Baselines that are the same for all runs come first, once.

    Args:
        runs: that are compared.
        title: of the table.
        layers: {run's name: the layers that are taken together}.
        networks: {network: its name} of the columns.
    """

    def column(run, network):
        return metrics_of(run.document, network, *layers[run.name])

    present = [network for network in networks if any(column(run, network) for run in runs)]
    shared = [
        network
        for network in present
        if network != TRAINED
        and len(runs) > 1
        and all(column(run, network) == column(runs[0], network) for run in runs)
    ]
    separate = [network for network in present if network not in shared]
    pairs = [(runs[0], network) for network in shared]
    pairs += [(run, network) for run in runs for network in separate]
    columns = [column(run, network) for run, network in pairs]
    # Columns among which the best is marked.
    group_size = len(columns) if shared else len(present)
    names = in_table_order(name for values in columns for name in values)
    rows = [_metric_row(name, columns, group_size) for name in names]
    rows += _choice_rows([_choices(run, network, layers[run.name]) for run, network in pairs])
    groups = [("all runs", shared)] if shared else []
    groups += [(run.name, separate) for run in runs]
    heads = [(name, tuple(networks[each] for each in of_group)) for name, of_group in groups]
    return Table(title, tuple(head for head in heads if head[1]), tuple(rows))


def _choices(run, network, layers):
    """{"knn.k": value, ...}: what evaluations chose for themselves."""
    choices = {}
    for evaluation in CHOOSING_EVALUATIONS:
        for layer in ("pixels",) if network == "pixels" else layers:
            details = run.details(layer, evaluation, network) or {}
            for name, value in details.items():
                choices[f"{evaluation}.{name}"] = value
    return choices


def _choice_rows(choices_of_columns):
    names = dict.fromkeys(name for choices in choices_of_columns for name in choices)
    rows = []
    for name in names:
        label = CHOICE_LABELS.get(name, name.replace(".", ": ").replace("_", " "))
        cells = [
            flag_text(choices[name]) if name in choices else MISSING
            for choices in choices_of_columns
        ]
        rows.append(Row(label, tuple(cells)))
    return rows


def notes(tables: list[Table]) -> dict[str, tuple[int, MetricName]]:
    """The explanations of all metrics that tables name.

    Returns:
        {metric name: (number of its note, metric)}; metrics that differ in a number share a note.
    """
    names = [row.metric for table in tables for row in table.rows if row.metric]
    explained = [name for name in in_table_order(names) if metric(name).explanation]
    numbers = {}
    by_name = {}
    for name in explained:
        family, shared_metric = metric_family(name)
        number = numbers.setdefault(family, len(numbers) + 1)
        by_name[name] = number, shared_metric
    return by_name


def recipe(runs: list[Run]) -> Table | None:
    """The flags that are given in one of the runs, see `Run.flags_given`; None without any.

    Those in which the runs differ are marked.
    """
    defaults = default_flags()
    given = dict.fromkeys(name for run in runs for name in run.flags_given)
    rows = []
    for name in sorted(given, key=list({**defaults, **given}).index):
        values = [flag_text(run.get("flags").get(name, defaults.get(name))) for run in runs]
        row = (flag_text(defaults.get(name)), *values)
        rows.append(Row(name, row, differs=len(set(values)) > 1))
    if not rows:
        return None
    columns = ("default", *(run.name for run in runs))
    return Table("Recipe", (("", columns),), tuple(rows))


def transfer(runs: list[Run]) -> list[tuple[str, dict]]:
    """[(run's name, {"dataset", "cells": the row as text})]."""
    entries = []
    for run in runs:
        for row in run.get("transfer") or []:
            counts = [value_text(row.get(name)) for name in ("classes", "labels", "test")]
            accuracies = [
                format_value("linear_probe_accuracy", row.get(name))
                for name in ("untrained_probe", "probe", "fine_tuned")
            ]
            entries.append((run.name, {"dataset": row["dataset"], "cells": counts + accuracies}))
    return entries


def tensorboard(runs: list[Run]) -> str:
    """The command that shows the curves of all the runs."""
    if len(runs) == 1:
        return f"tensorboard --logdir={shlex.quote(str(runs[0].directory))}"
    entries = []
    for run in runs:
        name = run.name.replace(":", "_").replace(",", "_")
        entries.append(f"{name}:{run.directory}")
    return f"tensorboard --logdir_spec={shlex.quote(','.join(entries))}"
