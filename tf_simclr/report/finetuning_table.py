"""How a run was to be fine-tuned: the candidates and their scores on held-out labels."""

import statistics

from tf_simclr.report.page_tables import Row, Table
from tf_simclr.report.runs import Run


def finetunings(runs: list[Run]) -> list[Table]:
    """A table for each run whose fine-tuning was chosen."""
    return [_table(run) for run in runs if run.get("finetuning")]


def _table(run):
    choice = run.get("finetuning")
    rows = []
    for name, scores in choice["scores"].items():
        draws = ", ".join(f"{score:.1%}" for score in scores)
        is_chosen = name == choice["chosen"]
        best = frozenset([0]) if is_chosen else frozenset()
        rows.append(Row(name, (f"{statistics.fmean(scores):.1%}", draws), best=best))
    columns = (f"accuracy on {choice['held_out']} held-out labels", "of each draw")
    return Table(f"Fine-tuning of {run.name}", (("", columns),), tuple(rows))
