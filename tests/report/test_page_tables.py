"""The tables of the page: which cells are marked as the best."""

from tests.helpers.verdict_runs import right, run
from tf_simclr.report import page_tables


def best_cells(runs, label):
    """The numbers of the marked cells of a row of the table of runs."""
    rows = page_tables.comparison(runs).rows
    return next(row.best for row in rows if row.label == label)


def test_the_best_of_runs_on_the_same_data():
    accuracies = {"a": 0.5, "b": 0.7}
    runs = [
        run(name, "pretrain", probe=right(accuracy), facts={"dataset": "digits"})
        for name, accuracy in accuracies.items()
    ]
    assert best_cells(runs, "linear probe") == {1}
    runs[0].facts["dataset"] = "cifar10"
    assert best_cells(runs, "linear probe") == set()


def test_a_collapsed_network_is_not_the_best():
    """Its views are the closest of all."""
    runs = [run(name, "pretrain", probe=right(0.5)) for name in "ab"]
    for of_run, alignment in zip(runs, (0.1, 0.0), strict=True):
        of_run.document["figures"]["trained"]["final_avg_pool"]["alignment"] = alignment
    assert best_cells(runs, "alignment") == set()
