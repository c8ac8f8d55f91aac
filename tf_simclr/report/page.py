"""Runs -> one HTML file that needs no other and makes no request."""

from tf_simclr.report import (
    charts,
    evaluated,
    gallery,
    headline,
    inspection,
    metric_names,
    page_tables,
    svg,
    templates,
    training_charts,
    training_notes,
    verdict_chart,
)
from tf_simclr.report import runs as runs_lib
from tf_simclr.report import verdict as verdict_lib
from tf_simclr.report.choice_table import choices
from tf_simclr.report.label_answer import labels_needed
from tf_simclr.report.runs import Run
from tf_simclr.report.wording import flag_text

SECTIONS = {
    "runs": "Runs",
    "recipe": "Recipe",
    "evaluations": "Evaluations",
    "curves": "Training",
    "few-labels": "By number of labels",
    "layers": "By layer",
    "map": "Map of the embeddings",
    "neighbors": "Nearest neighbors",
    "classifier": "Classifier",
    "views": "What the training sees",
    "images": "Images",
    "transfer": "Transfer",
    "repeat": "Configuration",
}


def write(directories: list, output):
    """Writes the report of some runs.

    Args:
        directories: of runs that were evaluated; the order is that of the page.
        output: path of the HTML file; written whole or not at all.

    Raises:
        UserError: a directory without results that can be read, or `output` can't be written.
    """
    templates.write(output, render(runs_lib.read(directories)), "the report")


def render(runs: list[Run]) -> str:
    """The text of the page."""
    comparison = page_tables.comparison(runs)
    evaluations = page_tables.evaluations(runs)
    shared = {
        "runs": comparison,
        "recipe": page_tables.recipe(runs),
        "choices": choices(runs),
        "evaluations": evaluations,
        "curves": training_charts.curves(runs),
        "few-labels": charts.few_labels(runs),
        "labels-needed": _labels_needed(runs),
        "layers": charts.by_layer(runs),
        "transfer": page_tables.transfer(runs),
        "repeat": page_tables.tensorboard(runs),
    }
    verdict = verdict_lib.of_runs(runs)
    galleries = [_gallery(run, number) for number, run in enumerate(runs)]
    sections = {
        name: title
        for name, title in SECTIONS.items()
        if shared.get(name) or any(each.get(name) for each in galleries)
    }
    return templates.render(
        "page.html",
        headline=headline,
        training_notes=training_notes,
        metric_names=metric_names,
        flag_text=flag_text,
        all_runs=runs,
        several=len(runs) > 1,
        verdict=verdict,
        verdict_chart=verdict and verdict_chart.chart(verdict),
        sheets=_sheets(runs),
        galleries=galleries,
        left_out=evaluated.left_out,
        part=shared,
        sections=sections,
        notes=page_tables.notes([comparison, *evaluations]),
    )


def _labels_needed(runs):
    """[(run, how many labels an accuracy takes)] of the runs that it is known of."""
    answers = []
    for run in runs:
        sentences = labels_needed(run.document)
        if sentences:
            answers.append((run.name, " ".join(sentences)))
    return answers


def _sheets(runs):
    """{key: sheet}: each sheet once, however many runs have it."""
    sheets = {}
    for run in runs:
        for sheet in (run.images, run.views):
            if sheet:
                sheets[sheet.key] = sheet
    return sheets


def _gallery(run, number):
    """What the page shows of one run by itself, under the names of its sections."""
    shares = gallery.shares(run)
    classifier = {
        "confusion": gallery.confusion(run),
        "confused": gallery.confused(run),
        "heat": None if shares is None else svg.heat(shares),
        "calibration": charts.calibration(run, number),
        "per_class": gallery.per_class(run),
        "mistakes": gallery.mistakes(run),
    }
    return {
        "run": run,
        "number": number,
        "map": gallery.points(run),
        "legend": gallery.legend(run),
        "neighbors": gallery.neighbors(run),
        "views": gallery.views(run),
        "images": run.inspection and inspection.view(run.inspection),
        "classifier": classifier if any(classifier.values()) else None,
    }
