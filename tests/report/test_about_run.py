"""What a run is, as text."""

import pytest

from tests.helpers.verdict_runs import right, run
from tf_simclr.report import about_run

LABEL = "near-copies of training images"


@pytest.mark.parametrize(
    "images, skipped, expected",
    [
        (12, 0, "12 of 1,360"),
        (12, 340, "at least 12 of 1,360"),
        (0, 0, "0 of 1,360"),
        (0, 340, "none found of 1,360"),
        (12, None, "12 of 1,360"),  # of an evaluation before it was saved
    ],
)
def test_near_copies_where_not_all_pairs_were_compared(images, skipped, expected):
    copies = {"images": images, "evaluated": 1360, "compared": 9}
    if skipped is not None:
        copies["skipped"] = skipped
    evaluated = run("finetune", "finetune", classifier=right(0.5), training_copies=copies)
    assert about_run.texts([evaluated])[LABEL] == (expected,)
    assert LABEL not in about_run.texts([run("finetune", "finetune", classifier=right(0.5))])


def test_classes_that_are_not_evaluated_are_named():
    evaluated = run("finetune", "finetune", classifier=right(0.5))
    details = evaluated.document["details"]["trained"]["classifier"]
    details["per_class_accuracy"] = [0.9, None, 0.3, None]
    assert about_run.texts([evaluated])["classes not evaluated"] == ("class 1, class 3",)
    details["per_class_accuracy"] = [0.9, 0.3]
    assert "classes not evaluated" not in about_run.texts([evaluated])


@pytest.mark.parametrize("minutes, text", [(0.03, "2 s"), (2.34, "2.3 min")])
def test_a_short_training_took_seconds(minutes, text):
    trained = run("a", "pretrain", probe=right(0.5), facts={"train_minutes": minutes})
    assert about_run.texts([trained])["time of training"] == (text,)
