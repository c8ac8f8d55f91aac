"""Results -> tables. No TensorFlow here."""

ROWS = {
    "label_top_1_accuracy": "linear classifier of the network, top 1",
    "label_top_5_accuracy": "linear classifier of the network, top 5",
    "linear_probe_accuracy": "logistic regression on the features",
    "knn_accuracy": "k nearest neighbours of the features",
}


def results_table(result):
    """The figures of a `result.json` as a Markdown table, the untrained network beside the trained one."""
    lines = ["| accuracy | untrained network | this network |", "|---|---|---|"]
    for name, label in ROWS.items():
        if f"eval/{name}" in result:
            lines.append(f"| {label} | {_percent(result.get(f'untrained/{name}'))} | {_percent(result[f'eval/{name}'])} |")
    return "\n".join(lines) if len(lines) > 2 else "no labels, so no accuracies"


def stages_table(results):
    """The results of a chain, {stage: content of its `result.json`}, as a Markdown table; first the first stage's network untrained."""
    lines = ["| stage | labels | top 1 | top 5 | logistic regression | k-NN | parameters | minutes |", "|---|---|---|---|---|---|---|---|"]
    first = next(iter(results.values()))
    rows = [("untrained network", "untrained", {**first, "train_minutes": 0.0})] + [(stage, "eval", result) for stage, result in results.items()]
    for stage, prefix, result in rows:
        figures = " | ".join(_percent(result.get(f"{prefix}/{name}")) for name in ROWS)
        lines.append(f"| {stage} | {result['labels']} | {figures} | {result['parameters']:,} | {result['train_minutes']:.1f} |")
    return "\n".join(lines)


def _percent(value):
    return "" if value is None else f"{value:.2%}"
