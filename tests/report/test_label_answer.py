"""How many labels an accuracy takes, in words: on the page and for the log."""

import pytest

from tests.helpers import report_runs
from tf_simclr import report
from tf_simclr.commands import evaluate
from tf_simclr.evaluation.metrics import label_law
from tf_simclr.report import charts, label_answer
from tf_simclr.report import runs as runs_lib

SENTENCES = [
    "For 95%: about 120 labels (80% interval 78 to 180).",
    "For 99%: at least 150 labels, probably more than 200.",
    "You have 144.",
]


def document(targets=(), **label_law):
    """A results.json with another answer of the encoder's output."""
    content = report_runs.document()
    saved = content["details"]["trained"]["final_avg_pool"]["label_law"]
    if targets:
        names = ("accuracy", "labels", "low", "high")
        saved["targets"] = [dict(zip(names, target)) for target in targets]
    saved |= label_law
    return content


def without_law(content):
    del content["details"]["trained"]["final_avg_pool"]["label_law"]["law"]
    return content


def test_accuracies_above_that_of_all_labels():
    """The linear probe has reached 90% already."""
    assert report.labels_needed(report_runs.document()) == SENTENCES


def test_a_line_of_the_log(log):
    evaluate._log_labels_needed(report_runs.document())
    assert f"labels that a linear probe takes: {' '.join(SENTENCES)}" in log.text


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ((0.95, 12_345, 1_999, None), "For 95%: about 12,000 labels (80% interval 1,900 or more)."),
        ((0.95, 7, 7, 9), "For 95%: about 7 labels (80% interval 7 to 9)."),
        ((0.95, None, None, None), "For 95%: more than 200 labels."),
        (
            (0.999, None, None, None),
            "For 100%: more labels alone won't reach it by this law, which levels off at 99.5% at "
            "most.",
        ),
    ],
)
def test_answers(target, sentence):
    assert report.labels_needed(document([target])) == [sentence, "You have 144."]


def test_accuracies_of_one_answer_are_named_together():
    targets = [(0.92, None, None, None), (0.95, None, None, None), (0.99, None, None, None)]
    first, _ = report.labels_needed(document(targets))
    assert first == "For 92%, 95% and 99%: more than 200 labels."


def test_where_it_can_not_be_told():
    reason = "there are labels for 2 points of the curve, and a law takes 4"
    targets = [(0.95, None, None, None), (0.99, None, None, None)]
    content = without_law(document(targets, reason=reason, band=[]))
    assert report.labels_needed(content) == [
        f"For 95% and 99%: can't tell how many labels; {reason}.",
        "You have 144.",
    ]


@pytest.mark.parametrize("lacks", ["label_law", "targets", "labels"])
def test_what_is_not_there(lacks):
    content = report_runs.document()
    details = content["details"]["trained"]["final_avg_pool"]
    if lacks == "label_law":  # of an evaluation before there was one
        del details["label_law"]
    elif lacks == "targets":  # all are reached
        details["label_law"]["targets"] = []
    else:
        del content["run"]["labels"]
    sentences = report.labels_needed(content)
    assert sentences == (SENTENCES[:2] if lacks == "labels" else [])


def test_page_and_chart(tmp_path):
    path = report_runs.write(tmp_path / "run", report_runs.document(), events=False)
    report.write([path], tmp_path / "report.html")
    assert f"<p>{' '.join(SENTENCES)}</p>" in (tmp_path / "report.html").read_text()
    runs = runs_lib.read([path])
    chart = charts.few_labels(runs)
    assert "fitted law: 1: 59.2%, 2: 68.8%, 4: 76.1%, 10: 83.2%" in chart.words
    assert "fitted law" in chart.svg
    assert chart.caption.endswith("; of the fitted law: 80% interval")
    low, high = label_law.INTERVAL
    assert f"{high - low:.0%} interval" == label_answer.LAW_INTERVAL


@pytest.mark.parametrize(
    ("facts", "has_learned"),
    [
        ({"train_mode": "finetune"}, True),  # of an evaluation before it was saved
        ({"train_mode": "finetune", "learned_labels": False}, False),  # those of other data
        ({"train_mode": "pretrain", "learned_labels": True}, True),
    ],
)
def test_labels_that_the_network_has_learned_foretell_nothing(tmp_path, facts, has_learned):
    content = report_runs.document("tuned")
    content["run"] |= facts
    assert report.labels_needed(content) == ([] if has_learned else SENTENCES)
    path = report_runs.write(tmp_path / "tuned", content, events=False)
    chart = charts.few_labels(runs_lib.read([path]))
    assert ("fitted law" in chart.words) != has_learned
    note = "trained on these labels, so it foretells nothing of further ones: tuned"
    assert (note in chart.caption) == has_learned


def test_the_law_is_drawn_where_the_labels_were_measured(tmp_path):
    """With a class of one image, 2 labels of each class are not half of the labels of 4."""
    content = report_runs.document()
    details = content["details"]["trained"]["final_avg_pool"]
    for entry, labels in zip(details["few_labels"], (10, 19, 37), strict=True):
        entry["labels"] = labels
    law = details["label_law"]
    law["labels"] = 37
    for point, labels in zip(law["band"], (10, 19, 37, 92, 185), strict=True):
        point["labels"] = labels
    path = report_runs.write(tmp_path / "run", content, events=False)
    words = charts.few_labels(runs_lib.read([path])).words
    assert "fitted law: 1: 59.2%, 2: 68.8%, 4: 76.1%, 10: 83.2%, 20: " in words


def test_several_runs_are_named_and_have_no_law_drawn(tmp_path):
    contents = {name: report_runs.document(name) for name in ("first", "second", "third")}
    del contents["third"]["details"]["trained"]["final_avg_pool"]["label_law"]
    paths = [
        report_runs.write(tmp_path / name, content, events=False)
        for name, content in contents.items()
    ]
    report.write(paths, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for name in ("first", "second"):
        assert f"<p>{name}: {' '.join(SENTENCES)}</p>" in page
    assert "<p>third: " not in page
    assert "fitted law" not in page


def test_a_probe_of_more_labels_than_the_law():
    """What it has not reached is not said to take fewer labels than it had."""
    content = document([(0.95, 120, 78, 180), (0.99, 900, 700, 1500)])
    content["run"] |= {"labels": 5000, "fitted_examples": 500}
    assert report.labels_needed(content) == [
        "For 95%: more than the 500 labels that the probe was fitted to.",
        "For 99%: about 900 labels (80% interval 700 to 1,500).",
        "You have 5,000.",
    ]
