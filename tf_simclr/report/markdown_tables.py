"""Results -> Markdown tables."""

from tf_simclr.config.registry import ENCODER_LAYERS
from tf_simclr.report.metric_names import (
    BY_LAYER,
    NETWORKS,
    evaluated_layers,
    format_value,
    headline_layers,
    in_table_order,
    metric,
    metrics_of,
)

STAGE_FIGURES = {
    "label_top_1_accuracy": "top 1",
    "label_top_5_accuracy": "top 5",
    "linear_probe_accuracy": "logistic regression",
    "knn_accuracy": "k-NN",
}
LAYER_FIGURES = {
    f"{layer}/linear_probe_accuracy": f"{layer}, logistic regression"
    for layer in ENCODER_LAYERS[:-1]
}
OWN_TASK = ("own task", "its loss (at chance)")
NO_LABELS = "no labels, so no accuracies"


def results_table(document):
    """The figures of a results.json as Markdown: raw pixels and the untrained network beside the trained one.

    With more than one layer evaluated a second table has them all; what was left out stands beneath, each reason once.
    """
    columns = [metrics_of(document, network, *headline_layers(document)) for network in NETWORKS]
    names = in_table_order(name for column in columns for name in column)
    parts = [] if any(metric(name).labels for name in names) else [NO_LABELS]
    if names:
        rows = [
            (metric(name).label, *(_cell(name, column) for column in columns)) for name in names
        ]
        parts.append(_table(("figure", *NETWORKS.values()), rows, "-:::"))
    if len(evaluated_layers(document)) > 1:
        parts.append(_layers_table(document))
    reasons = {}
    for one in document["left_out"]:
        reasons.setdefault((one["evaluation"], one["reason"]), []).append(
            f"{one['network']} {one['place']}"
        )
    parts += [
        f"{_plain(evaluation)} is left out ({_plain(', '.join(places))}): {_plain(reason)}"
        for (evaluation, reason), places in reasons.items()
    ]
    return "\n\n".join(parts)


def _layers_table(document):
    columns = {
        layer: metrics_of(document, "trained", layer) for layer in evaluated_layers(document)
    }
    names = [name for name in BY_LAYER if any(name in column for column in columns.values())]
    rows = [(layer, *(_cell(name, column) for name in names)) for layer, column in columns.items()]
    return _table(("layer", *(metric(name).label for name in names)), rows, "-" + ":" * len(names))


def stages_table(results):
    """The results of a chain, {stage: content of its `result.json`}, as a Markdown table; first the first stage's network untrained.

    Where several layers were evaluated they have columns of their own, and so has the task that a stage solves without labels.
    """
    several = any(f"eval/{name}" in result for name in LAYER_FIGURES for result in results.values())
    columns = {**(LAYER_FIGURES if several else {}), **STAGE_FIGURES}
    header = (
        "stage",
        "labels",
        *(OWN_TASK if several else ()),
        *columns.values(),
        "parameters",
        "minutes",
    )
    first, rows = next(iter(results.values())), []
    for stage, prefix, result in [
        ("untrained network", "untrained", {**first, "train_minutes": 0.0}),
        *((stage, "eval", result) for stage, result in results.items()),
    ]:
        figures = [_percent(result.get(f"{prefix}/{name}")) for name in columns]
        own = _own_task(result, prefix) if several else []
        rows.append(
            (
                stage,
                result["labels"],
                *own,
                *figures,
                f"{result['parameters']:,}",
                f"{result['train_minutes']:.1f}",
            )
        )
    return _table(header, rows, "-" * len(header))


def _own_task(result, prefix):
    """[share of right answers, loss and in brackets that of who knows nothing], each "" where there is none."""
    loss, chance = (result.get(f"{prefix}/task_{name}") for name in ("loss", "chance"))
    return [
        _percent(result.get(f"{prefix}/task_accuracy")),
        "" if None in (loss, chance) else f"{loss:.3f} ({chance:.3f})",
    ]


def _table(header, rows, alignment):
    rule = "|" + "".join("---|" if one == "-" else "--:|" for one in alignment)
    return "\n".join([_row(header), rule, *map(_row, rows)])


def _row(cells):
    return "| " + " | ".join(map(_plain, cells)) + " |"


def _cell(name, column):
    return format_value(name, column[name]) if name in column else ""


def _plain(value):
    """Text that stays in its line and its cell."""
    return " ".join(str(value).split()).replace("|", "\\|")


def _percent(value):
    return "" if value is None else f"{value:.2%}"
