"""Runs -> one HTML file that needs no other and asks for nothing."""

import jinja2
from etils import epath

from tf_simclr.errors import write_error
from tf_simclr.report import charts, gallery, metric_names, page_tables, svg
from tf_simclr.report import runs as runs_lib
from tf_simclr.runs import files as run_files

SECTIONS = {
    "runs": "Runs",
    "recipe": "Recipe",
    "evaluations": "Evaluations",
    "curves": "Training",
    "few-labels": "Few labels",
    "layers": "By layer",
    "map": "Map of the embeddings",
    "neighbors": "Nearest neighbours",
    "classifier": "Classifier",
    "views": "What the training sees",
    "transfer": "Transfer",
    "repeat": "Configuration",
}


def write(directories, output):
    """Makes the report of some run directories.

    Args:
        directories: of runs that were evaluated; the order is that of the page.
        output: path of the HTML file; written whole or not at all.

    Raises:
        UserError: a directory without results that can be read, or `output` can't be written.
    """
    output = epath.Path(output)
    text = render(runs_lib.read(directories))
    try:
        if output.is_dir():
            raise IsADirectoryError(None, "it is a directory; give the name of a file")
        run_files.write_text(output, text)
    except (OSError, ValueError) as error:
        raise write_error(
            f"the report can't be written to {output}: {getattr(error, 'strerror', None) or error}",
            error,
        ) from None


def render(runs):
    """The text of the page of some `Run`s."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tf_simclr.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(facts=page_tables, figures=metric_names)
    comparison, evaluations, galleries = (
        page_tables.comparison(runs),
        page_tables.evaluations(runs),
        [_gallery(run, number) for number, run in enumerate(runs)],
    )
    shared = {
        "runs": comparison,
        "recipe": page_tables.recipe(runs),
        "evaluations": evaluations,
        "curves": charts.curves(runs),
        "few-labels": charts.few_labels(runs),
        "layers": charts.by_layer(runs),
        "transfer": page_tables.transfer(runs),
        "repeat": page_tables.tensorboard(runs),
    }
    return environment.get_template("page.html").render(
        all_runs=runs,
        several=len(runs) > 1,
        sheets={sheet.key: sheet for run in runs for sheet in (run.images, run.views) if sheet},
        galleries=galleries,
        part=shared,
        sections={
            name: title
            for name, title in SECTIONS.items()
            if shared.get(name) or any(one.get(name) for one in galleries)
        },
        notes=page_tables.notes([comparison, *evaluations]),
    )


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
        "classifier": classifier if any(classifier.values()) else None,
    }
