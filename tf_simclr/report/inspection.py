"""inspection.json -> a table for the log, and what the page says of the images."""

import json

from tf_simclr.errors import UserError
from tf_simclr.report import markdown_tables, schema, templates
from tf_simclr.runs import files as run_files

SCHEMA = "tf_simclr.inspection"
VERSION = 1
ISSUES = {  # by the name of the issue: what it is, in words
    "leak": "copies across the splits",
    "exact_copy": "exact copies",
    "near_copy": "near-copies",
    "doubtful_label": "doubtful labels",
    "outlier": "unlike the others",
    "overlapping_classes": "classes that overlap",
    "blank": "blank",
    "dark": "dark",
    "bright": "bright",
    "blurry": "blurry",
    "odd_size": "of another size",
    "odd_shape": "of another shape",
    "broken": "broken files",
}
SCORES = {  # what the score of an issue is, see docs/labelling.md; of all others `ANY_SCORE`
    "leak": "correlation {:.2f}",
    "exact_copy": "correlation {:.2f}",
    "near_copy": "correlation {:.2f}",
    "doubtful_label": "{:.1%} improbable",
    "outlier": "{:.1f} robust deviations",
    "overlapping_classes": "overlap {:.2f} of at most 1",
    "broken": "",
}
ANY_SCORE = "score {:.3g}; higher is worse"
NOT_OF_IMAGES = ("overlapping_classes", "broken")  # no share of the images
PICTURE = {"name": str, "split?": str, "image?": str}
KINDS = {
    "schema": str,
    "dataset": str,
    "splits": {"*": int},
    "lines": [str],
    "issues": [
        {
            "issue": str,
            "number": int,
            "examples": [
                {
                    "image": PICTURE,
                    "other": PICTURE,
                    "score": schema.NUMBER,
                    "suggestion": str,
                }
            ],
        }
    ],
}


def read(directory) -> dict | None:
    """The inspection.json of a run, checked; None if there is none.

    Args:
        directory: `epath.Path` of the run.

    Raises:
        UserError: it is damaged, or of a newer version.
    """
    path = directory / run_files.INSPECTION
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: it can't be read ({error}); remove it") from None
    problem = next(schema.problems(document, KINDS), None)
    if problem is None and (document["schema"], document.get("version")) != (SCHEMA, VERSION):
        problem = f"it is not of schema {SCHEMA}, version {VERSION}"
    if problem:
        raise UserError(
            f"{path}: {problem}; remove it, and inspect the images again (--mode=inspect)"
        )
    return document


def summary(document: dict) -> list[tuple[str, str, str, str]]:
    """[(issue in words, number, share of the images, an example)] of what is wrong."""
    total = max(sum(document["splits"].values()), 1)
    table_rows = []
    for issue in document["issues"]:
        number = issue["number"]
        if not number:
            continue
        share = "" if issue["issue"] in NOT_OF_IMAGES else f"{number / total:.1%}"
        title = ISSUES.get(issue["issue"], issue["issue"])
        table_rows.append((title, f"{number:,}", share, _names(issue["examples"][0])))
    return table_rows


def table(document: dict) -> str:
    """The issues as a Markdown table; a sentence where there are none."""
    table_rows = summary(document)
    if not table_rows:
        return f"nothing, in {sum(document['splits'].values()):,} images"
    header = ("issue", "number", "share", "example")
    rules = (
        markdown_tables.TEXT_RULE,
        *[markdown_tables.NUMBER_RULE] * 2,
        markdown_tables.TEXT_RULE,
    )
    return markdown_tables.table(header, table_rows, rules)


def _names(example):
    names = [example["image"]["name"], example["other"]["name"]]
    return " and ".join(filter(None, names))


def view(document: dict) -> dict:
    """What the templates need: {"images", "splits", "lines", "table", "kinds"}."""
    kinds = []
    for issue in document["issues"]:
        if issue["number"]:
            title = ISSUES.get(issue["issue"], issue["issue"])
            score = SCORES.get(issue["issue"], ANY_SCORE)
            examples = [
                {**example, "score": score.format(example["score"])}
                for example in issue["examples"]
            ]
            rest = issue["number"] - len(examples)
            kinds.append({**issue, "title": title, "examples": examples, "rest": rest})
    splits = [f"{name} ({count:,})" for name, count in document["splits"].items()]
    return {
        "images": sum(document["splits"].values()),
        "splits": ", ".join(splits),
        "lines": document["lines"],
        "table": summary(document),
        "kinds": kinds,
    }


def render(document: dict) -> str:
    """The text of a page of the inspection alone."""
    return templates.render(
        "inspection_page.html", dataset=document["dataset"], view=view(document)
    )
