"""The charts of what was evaluated: which lines they have."""

from tests.helpers.verdict_runs import right, run
from tf_simclr.report import charts


def words_of(means):
    """The chart of accuracies by labels in words, of {run: mean of its untrained network}."""
    runs = []
    for name, mean in means.items():
        made = run(name, "finetune", classifier=right(0.8))
        entries = [{"labels_per_class": 1, "mean": mean, "std": 0.1}]
        made.document["details"]["untrained"] = {"final_avg_pool": {"few_labels": entries}}
        made.document["figures"]["untrained"] = {"final_avg_pool": {"knn_accuracy": mean}}
        runs.append(made)
    return charts.few_labels(runs).words


def test_what_all_runs_share_has_the_name_of_no_run():
    words = words_of({"a": 0.3, "b": 0.3})
    assert words.endswith("further ones: a, b. untrained network: 1: 30.0%.")


def test_lines_of_one_network_have_different_names():
    """Drawn and selected labels, two runs each."""
    words = words_of({"a": 0.3, "b": 0.3, "c": 0.4, "d": 0.4})
    assert words.endswith("a, untrained network: 1: 30.0%. c, untrained network: 1: 40.0%.")
