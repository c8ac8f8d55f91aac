"""What held-out labels have decided of a run: the candidates and their scores."""

import statistics

from tf_simclr.report.page_tables import Row, Table
from tf_simclr.report.runs import Run


def choices(runs: list[Run]) -> list[Table]:
    """A table for each run of which something was chosen."""
    return [_table(run) for run in runs if run.get("held_out_choice")]


def _table(run):
    choice = run.get("held_out_choice")
    rows = []
    for name, scores in choice["scores"].items():
        draws = ", ".join(f"{score:.1%}" for score in scores)
        is_chosen = name == choice["chosen"]
        best = frozenset([0]) if is_chosen else frozenset()
        rows.append(Row(name, (f"{statistics.fmean(scores):.1%}", draws), best=best))
    columns = (f"accuracy on {choice['held_out']} held-out labels", "of each draw")
    return Table(f"{choice['subject'].capitalize()} of {run.name}", (("", columns),), tuple(rows))
