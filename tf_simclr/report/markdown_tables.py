"""Results -> Markdown tables."""

from collections.abc import Iterable, Sequence

from tf_simclr.config.registry import ENCODER_LAYERS
from tf_simclr.config.splits import overlap
from tf_simclr.report.evaluated import (
    evaluated_layers,
    headline_layers,
    left_out,
    metrics_of,
    networks_of,
)
from tf_simclr.report.metric_names import (
    LAYER_METRICS,
    STAGE_METRICS,
    format_value,
    in_table_order,
    metric,
)

# Of the table of a chain: probes of layers before the encoder's output.
LAYER_COLUMNS = {
    f"{layer}/linear_probe_accuracy": f"{layer}, logistic regression"
    for layer in ENCODER_LAYERS[:-1]
}
TASK_COLUMNS = ("own task", "its loss (at chance)")
TOP = 5
TOP_5 = f"label_top_{TOP}_accuracy"  # with up to so many classes it is 100% and says nothing
NO_LABELS = "no labels, so no accuracies"
ON_TRAINING_IMAGES = "evaluated on the images that were trained on: better than on any others"
TEXT_RULE = "---|"
NUMBER_RULE = "--:|"


def results_table(document: dict) -> str:
    """The metrics of a results.json: raw pixels and the untrained network beside the trained one.

    With more than one layer evaluated a second table has them all; what was left out stands
    beneath.
    """
    layers = headline_layers(document)
    networks = networks_of(document)
    columns = [metrics_of(document, network, *layers) for network in networks]
    names = in_table_order(name for column in columns for name in column)
    facts = document["run"]
    if 0 < len(facts.get("class_names", ())) <= TOP:
        names = [name for name in names if name != TOP_5]
    blocks = []
    if overlap(facts.get("train_split", "train"), facts.get("eval_split", "")):
        blocks.append(ON_TRAINING_IMAGES)
    if not any(metric(name).needs_labels for name in names):
        blocks.append(NO_LABELS)
    if names:
        header = ("figure", *networks.values())
        cells = [
            (metric(name).label, *(_cell(name, column) for column in columns)) for name in names
        ]
        blocks.append(table(header, cells, [TEXT_RULE] + [NUMBER_RULE] * len(columns)))
    if len(evaluated_layers(document)) > 1:
        blocks.append(_layers_table(document))
    blocks += _left_out(document)
    return "\n\n".join(blocks)


def _layers_table(document):
    columns = {
        layer: metrics_of(document, "trained", layer) for layer in evaluated_layers(document)
    }
    names = [name for name in LAYER_METRICS if any(name in column for column in columns.values())]
    header = ("layer", *(metric(name).label for name in names))
    cells = []
    for layer, column in columns.items():
        cells.append((layer, *(_cell(name, column) for name in names)))
    return table(header, cells, [TEXT_RULE] + [NUMBER_RULE] * len(names))


def _left_out(document):
    lines = []
    for evaluations, layers, reason in left_out(document):
        names, where = _escaped(", ".join(evaluations)), _escaped(", ".join(layers))
        verb = "are" if len(evaluations) > 1 else "is"
        lines.append(f"{names} {verb} left out ({where}): {_escaped(reason)}")
    return lines


def stages_table(results: dict[str, dict]) -> str:
    """The results of a chain; first the first stage's network untrained.

    Where several layers were evaluated they have columns of their own, and so has the task that a
    stage solves without labels.

    Args:
        results: {stage: content of its `result.json`}.
    """
    has_layers = any(
        f"eval/{name}" in result for name in LAYER_COLUMNS for result in results.values()
    )
    columns = {**(LAYER_COLUMNS if has_layers else {}), **STAGE_METRICS}
    if {result.get(f"eval/{TOP_5}") for result in results.values()} - {None} == {1.0}:
        del columns[TOP_5]
    task_columns = TASK_COLUMNS if has_layers else ()
    header = ("stage", "labels", "steps", *task_columns, *columns.values(), "parameters", "minutes")
    untrained = {**next(iter(results.values())), "global_step": 0, "train_minutes": 0.0}
    stages = [("untrained network", "untrained", untrained)]
    stages += [(stage, "eval", result) for stage, result in results.items()]
    cells = []
    for stage, prefix, result in stages:
        task = _task_cells(result, prefix) if has_layers else []
        values = [_percent(result.get(f"{prefix}/{name}")) for name in columns]
        parameters = f"{result['parameters']:,}"
        minutes = f"{result['train_minutes']:.1f}"
        labels = " ".join(filter(None, (str(result["labels"]), result.get("labels_chosen"))))
        steps = f"{result['global_step']:,}"
        cells.append((stage, labels, steps, *task, *values, parameters, minutes))
    num_numbers = len(header) - 2  # all but the names of stages and the labels
    return table(header, cells, [TEXT_RULE] * 2 + [NUMBER_RULE] * num_numbers)


def neighbors_table(name: str, neighbors: Iterable[tuple[str, list[tuple[str, float]]]]) -> str:
    """The images that are most like some.

    Args:
        name: of the column of the images.
        neighbors: (image, [(another one, cosine)]) for each of them.
    """
    cells = []
    for image, others in neighbors:
        texts = [f"{other} ({cosine:.2f})" for other, cosine in others]
        cells.append((image, ", ".join(texts)))
    return table((name, "most similar (cosine)"), cells, [TEXT_RULE] * 2)


def _task_cells(result, prefix):
    """[share of right answers, loss and in brackets that at chance], "" where there is none."""
    accuracy = _percent(result.get(f"{prefix}/task_accuracy"))
    loss, chance = result.get(f"{prefix}/task_loss"), result.get(f"{prefix}/task_chance")
    if loss is None or chance is None:
        return [accuracy, ""]
    return [accuracy, f"{loss:.3f} ({chance:.3f})"]


def table(header: Sequence[str], rows_of_cells: Sequence[Sequence], rules: Sequence[str]) -> str:
    """A Markdown table whose columns are aligned, as it is read in a terminal.

    Args:
        header: of the columns.
        rows_of_cells: what the cells say.
        rules: TEXT_RULE or NUMBER_RULE for each column.
    """
    lines = [[_escaped(cell) for cell in cells] for cells in (header, *rows_of_cells)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    if rules[-1] == TEXT_RULE:
        widths[-1] = 0  # the one long text, as a name of a file may be, would widen all lines
    texts = [_line(cells, widths, rules) for cells in lines]
    rule_cells = [rule.rjust(width + 3, "-") for rule, width in zip(rules, widths)]
    texts.insert(1, "|" + "".join(rule_cells))
    return "\n".join(texts)


def _line(cells, widths, rules):
    padded = []
    for cell, width, rule in zip(cells, widths, rules):
        padded.append(cell.ljust(width) if rule == TEXT_RULE else cell.rjust(width))
    return f"| {' | '.join(padded)} |"


def _cell(name, column):
    return format_value(name, column[name]) if name in column else ""


def _escaped(value):
    """Text that stays in its line and its cell."""
    return " ".join(str(value).split()).replace("|", "\\|")


def _percent(value):
    return "" if value is None else f"{value:.2%}"
