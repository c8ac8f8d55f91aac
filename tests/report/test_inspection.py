"""What the page says of images with which something is wrong."""

import pytest

from tf_simclr.report import inspection


@pytest.mark.parametrize(
    "issue, score, text",
    [
        ("near_copy", 0.8314, "correlation 0.83"),
        ("doubtful_label", 0.9876, "98.8% improbable"),
        ("outlier", 13.5909, "13.6 robust deviations"),
        ("dark", 0.25, "score 0.25; higher is worse"),
        ("broken", 1, ""),
    ],
)
def test_scores_are_named(issue, score, text):
    example = {
        "image": {"name": "a.png"},
        "other": {"name": ""},
        "score": score,
        "suggestion": "look at it",
    }
    document = {
        "dataset": "folder:photos",
        "splits": {"train": 9},
        "lines": [],
        "issues": [{"issue": issue, "number": 1, "examples": [example]}],
    }
    (kind,) = inspection.view(document)["kinds"]
    assert [each["score"] for each in kind["examples"]] == [text]
    assert f"<small>{text}</small>" in inspection.render(document)
