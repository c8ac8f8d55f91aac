"""The tables of the page: rows of text, made of runs."""

import dataclasses
import json
import shlex

from tf_simclr.config import Config
from tf_simclr.report.metric_names import (
    HEADLINE_METRICS,
    NETWORKS,
    NONE,
    evaluated_layers,
    format_value,
    headline_layers,
    in_table_order,
    metric,
    metric_family,
    metrics_of,
)

BASELINES = {"pixels": "raw pixels", "untrained": "untrained"}
LABEL_FREE = ("feature_rank", "alignment", "uniformity")
CHOSEN = {
    "knn.k": "k-NN: neighbours k",
    "knn.temperature": "k-NN: temperature",
    "probe.l2_strength": "linear probe: L2 strength",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table. `best`: the numbers of the cells that are the best ones; `figure`: the name of the figure it is of, if of one."""

    label: str
    cells: tuple[str, ...]
    best: frozenset[int] = frozenset()
    figure: str = ""
    differs: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """groups: [(run's name, its columns' names)]."""

    title: str
    groups: tuple
    rows: tuple[Row, ...]


@dataclasses.dataclass(frozen=True)
class Tile:
    name: str
    value: str
    baselines: tuple[tuple[str, str], ...]


def headline(run):
    """The `Tile`s of a run: its best-known figures, each with its baselines."""
    figures = {
        network: metrics_of(run.document, network, *headline_layers(run.document))
        for network in NETWORKS
    }
    names = [name for name in HEADLINE_METRICS if figures["trained"].get(name) is not None] or [
        name for name in LABEL_FREE if name in figures["trained"]
    ]
    return [
        Tile(
            name,
            format_value(name, figures["trained"][name]),
            tuple(
                (label, format_value(name, figures[network][name]))
                for network, label in BASELINES.items()
                if figures[network].get(name) is not None
            ),
        )
        for name in names
    ]


def sentence(run):
    """What a run's figures say, in plain words."""
    facts, tiles = run.facts, {tile.name: tile for tile in headline(run)}
    images = (
        f"{facts['evaluated_examples']:,} {facts.get('eval_split', '')} images".replace("  ", " ")
        if "evaluated_examples" in facts
        else "the evaluated images"
    )
    fitted = (
        f" on {_count(facts['fitted_examples'], 'label')}" if facts.get("fitted_examples") else ""
    )
    if "linear_probe_accuracy" in tiles:
        tile, who = tiles["linear_probe_accuracy"], f"A linear probe{fitted}"
    elif "knn_accuracy" in tiles:
        tile, who = tiles["knn_accuracy"], f"A vote of the nearest neighbours{fitted}"
    elif "label_top_1_accuracy" in tiles:
        return f"The network's own classifier is right about {tiles['label_top_1_accuracy'].value} of {images}."
    else:
        return "There are no labels to evaluate with: what is known is how the features spread, and which images they hold to be similar."
    said = {"untrained": "the same network untrained reaches", "raw pixels": "raw pixels"}
    others = [f"{said[label]} {value}" for label, value in reversed(tile.baselines)]
    if others and "untrained" not in others[0]:
        others[0] = others[0].replace("raw pixels", "raw pixels reach")
    return f"{who} reaches {tile.value} of {images}" + (
        f"; {', '.join(others)}." if others else "."
    )


def _count(number, what):
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def comparison(runs):
    """What the runs are and how well they do, side by side."""
    rows = [
        Row(label, tuple(map(_text, map(value, runs))))
        for label, value in ABOUT.items()
        if any(value(run) is not None for run in runs)
    ]
    columns = [metrics_of(run.document, "trained", *headline_layers(run.document)) for run in runs]
    names = [
        name
        for name in in_table_order(name for column in columns for name in column)
        if name in (*HEADLINE_METRICS, *LABEL_FREE)
    ]
    return Table(
        "Runs",
        (("", tuple(run.name for run in runs)),),
        (*rows, *(_row(name, columns, len(columns)) for name in names)),
    )


def _minutes(run):
    return None if run.facts.get("train_minutes") is None else f"{run.facts['train_minutes']:.1f}"


def _training(run):
    task = run.get("flags").get("pretext", "simclr")
    return (
        f"{run.facts['train_mode']} ({task})"
        if task != "simclr" and run.facts.get("train_mode") == "pretrain"
        else run.facts.get("train_mode")
    )


def _best(run):
    best = run.get("best")
    return best and f"{best['step']:,} ({best['criterion']}: {best['value']:.4g})"


def _step(run):
    step, total = run.facts.get("step"), run.facts.get("total_steps")
    return step if total in (None, step) else f"{_text(step)} of {total:,}"


ABOUT = {
    "training": _training,
    "data": lambda run: run.facts.get("dataset"),
    "trained on": lambda run: run.facts.get("train_split"),
    "evaluated on": lambda run: run.facts.get("eval_split"),
    "step": _step,
    "images": lambda run: run.facts.get("images"),
    "labels": lambda run: run.facts.get("labels"),
    "evaluated images": lambda run: run.facts.get("evaluated_examples"),
    "parameters": lambda run: run.facts.get("parameters"),
    "minutes of training": _minutes,
    "best step": _best,
    "directory": lambda run: str(run.directory),
}


def _text(value):
    return (
        NONE
        if value in (None, "")
        else f"{value:,}"
        if isinstance(value, int) and not isinstance(value, bool)
        else shown(value)
    )


def shown(value):
    """A flag's value as one would give it."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(shown, value)) or "–"
    return (
        f"{value:.6g}"
        if isinstance(value, float)
        else {"True": "true", "False": "false", "None": NONE, "": "–"}.get(str(value), str(value))
    )


def _row(name, columns, size):
    """A figure's row over {figure: value} columns, the best of each `size` columns marked."""
    values = [column.get(name) for column in columns]
    best = set()
    for start in range(0, len(values), size):
        known = [
            value for value in values[start : start + size] if format_value(name, value) != NONE
        ]
        if (
            len(known) > 1
            and metric(name).better
            and len({format_value(name, value) for value in known}) > 1
        ):
            winner = format_value(
                name, max(known) if metric(name).better == "higher" else min(known)
            )
            best |= {
                number
                for number in range(start, min(start + size, len(values)))
                if format_value(name, values[number]) == winner
            }
    return Row(
        metric(name).label,
        tuple(format_value(name, value) for value in values),
        frozenset(best),
        name,
    )


def evaluations(runs):
    """A `Table` for the encoder's output and the classifier together, then one for each other layer."""
    heads = {run.name: headline_layers(run.document) for run in runs}
    others = [
        layer
        for layer in dict.fromkeys(
            layer for run in runs for layer in evaluated_layers(run.document)
        )
        if layer not in {place for places in heads.values() for place in places}
    ]
    tables = [_places(runs, "encoder output and classifier", heads, NETWORKS)]
    tables += [
        _places(runs, layer, dict.fromkeys(heads, (layer,)), ("untrained", "trained"))
        for layer in others
    ]
    return [table for table in tables if table.rows]


def _places(runs, title, places, networks):
    """places: {run's name: the places that are taken together}. Baselines that are the same for all runs come first, once."""
    have = [
        network
        for network in networks
        if any(metrics_of(run.document, network, *places[run.name]) for run in runs)
    ]
    same = [
        network
        for network in have
        if network in BASELINES
        and len(runs) > 1
        and all(
            metrics_of(run.document, network, *places[run.name])
            == metrics_of(runs[0].document, network, *places[runs[0].name])
            for run in runs
        )
    ]
    own = [network for network in have if network not in same]
    cells = [(runs[0], network) for network in same] + [
        (run, network) for run in runs for network in own
    ]
    columns = [metrics_of(run.document, network, *places[run.name]) for run, network in cells]
    size = len(columns) if same else len(have)  # of the columns that are compared
    rows = [
        _row(name, columns, size)
        for name in in_table_order(name for column in columns for name in column)
    ]
    chosen = [_chosen(run, network, places[run.name]) for run, network in cells]
    rows += [
        Row(label, tuple(shown(one[name]) if name in one else NONE for one in chosen))
        for name, label in _choices(chosen)
    ]
    groups = [("all runs", same)] * bool(same) + [(run.name, own) for run in runs]
    return Table(
        title,
        tuple((name, tuple(NETWORKS[network] for network in of)) for name, of in groups if of),
        tuple(rows),
    )


def _chosen(run, network, places):
    """{"knn.k": value, ...}: what evaluations chose for themselves."""
    places = ("pixels",) if network == "pixels" else places
    return {
        f"{what}.{name}": value
        for what in ("probe", "knn")
        for place in places
        for name, value in (run.details(place, what, network) or {}).items()
    }


def _choices(chosen):
    names = dict.fromkeys(name for one in chosen for name in one)
    return [(name, CHOSEN.get(name, name.replace(".", ": ").replace("_", " "))) for name in names]


def notes(tables):
    """{figure: (number of its note, `Figure`)} of all that the tables name; figures that differ in a number share a note."""
    names = in_table_order(
        row.figure
        for table in tables
        for row in table.rows
        if row.figure and metric(row.figure).explanation
    )
    numbers = {
        shared: number
        for number, shared in enumerate(dict.fromkeys(metric_family(name)[0] for name in names), 1)
    }
    return {name: (numbers[metric_family(name)[0]], metric_family(name)[1]) for name in names}


def recipe(runs):
    """The flags that are not at their defaults in one of the runs; those in which the runs differ are marked. None without any."""
    defaults = json.loads(json.dumps(Config().flat()))
    rows = []
    for name in dict.fromkeys([*defaults, *(name for run in runs for name in run.get("flags"))]):
        default, values = (
            shown(defaults.get(name)),
            tuple(shown(run.get("flags").get(name, defaults.get(name))) for run in runs),
        )
        if set(values) != {default}:
            rows.append(Row(name, (default, *values), differs=len(set(values)) > 1))
    return (
        Table("Recipe", (("", ("default", *(run.name for run in runs))),), tuple(rows))
        if rows
        else None
    )


def transfer(runs):
    """[(run's name, {"dataset", "cells": the row as text})]."""
    rows = [(run.name, one) for run in runs for one in run.get("transfer") or []]
    return [
        (
            name,
            {
                "dataset": one["dataset"],
                "cells": [
                    *(_text(one.get(count)) for count in ("classes", "labels", "test")),
                    *(
                        format_value("linear_probe_accuracy", one.get(accuracy))
                        for accuracy in ("untrained_probe", "probe", "fine_tuned")
                    ),
                ],
            },
        )
        for name, one in rows
    ]


def tensorboard(runs):
    """The command that shows the curves of all the runs."""
    if len(runs) == 1:
        return f"tensorboard --logdir={shlex.quote(str(runs[0].directory))}"
    return "tensorboard --logdir_spec=" + shlex.quote(
        ",".join(f"{run.name.replace(':', '_').replace(',', '_')}:{run.directory}" for run in runs)
    )
