"""Says what is wrong with images: a table, and a section of the report with examples."""

from collections.abc import Iterable

import numpy as np
from absl import logging
from etils import epath

from tf_simclr import distribute, report
from tf_simclr.commands import image_issues, leaks
from tf_simclr.commands.image_issues import NOBODY, Issue
from tf_simclr.commands.image_set import ImageSet, build_extractor, compute_image_set, load_all
from tf_simclr.config import Config
from tf_simclr.data import broken_files, thumbnails
from tf_simclr.errors import UserError, not_written
from tf_simclr.report import inspection, templates
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory

COLUMNS = ("file", "split", "issue", "score", "other_file", "suggestion")
ENDING = ".csv"
MAX_EXAMPLES = 12  # of an issue, with thumbnails
THUMBNAIL_SIZE = 96  # pixels of the longer side


def inspect(settings: Config, alone: bool = True):
    """Writes issues.csv, and what the report says of the images.

    Args:
        settings: the whole configuration.
        alone: whether it is a single run, not a stage of a chain.

    Raises:
        UserError: no weights, no images, features that are not finite, a file of something else
            in the place of the table, or nothing can be written.
    """
    directory = RunDirectory(settings.train.model_dir)
    output = epath.Path(settings.inspect.inspect_output or directory.path / run_files.ISSUES)
    if output.suffix != ENDING:
        raise UserError(f"--inspect_output={output}: accepted are files that end in {ENDING}")
    run_files.check_replaceable(output, COLUMNS, f"--inspect_output={output}")
    inspection.read(directory.path)  # what is damaged should show now
    extractor = build_extractor(settings, alone)
    directory.create()
    sources = load_all(extractor)
    images = compute_image_set(extractor, sources, "inspecting")
    pictures = image_issues.look_at(images)
    issues = image_issues.find(images, pictures)
    if not settings.embed.embed_split:
        issues["broken"] = _broken(images, settings.data.dataset)
    effects = leaks.effects_of(images, issues["leak"], extractor, settings)
    lines = [leaks.in_words(effects)] if effects else []
    if not distribute.is_chief(extractor.strategy):
        return
    _write_table(output, images, issues)
    document = _document(settings.data.dataset, images, issues, lines)
    directory.write(run_files.INSPECTION, document)
    logging.info("what is wrong with the images:\n\n%s\n", inspection.table(document))
    for line in lines:
        logging.warning("%s", line)
    logging.info("table: %s; page: %s", output, _write_page(directory.path, document))


def _broken(images, dataset):
    """Files that the scan of the folder has left out."""
    problems = broken_files.find(dataset, set(images.names.tolist()))
    return [
        Issue(NOBODY, 1.0, f"left out: {reason}", file=name) for name, reason in problems.items()
    ]


def _rows(images: ImageSet, issues: dict[str, list[Issue]]) -> Iterable[tuple]:
    """The rows of the table: by issue, the worst first."""
    for name, of_a_kind in issues.items():
        for issue in of_a_kind:
            file, split = issue.file, ""
            if issue.position != NOBODY:
                file, split = images.names[issue.position], images.splits[issue.position]
            other = issue.other_file
            if issue.other != NOBODY:
                other = images.names[issue.other]
            yield file, split, name, f"{issue.score:.4g}", other, issue.suggestion


def _write_table(output, images, issues):
    text = run_files.csv_text([COLUMNS, *_rows(images, issues)])
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        run_files.write_text(output, text)
    except OSError as error:
        raise not_written(f"--inspect_output={output}", error) from None


def _document(dataset, images, issues, lines):
    """The content of inspection.json, see `report.inspection`."""
    positions = {
        position
        for of_a_kind in issues.values()
        for issue in of_a_kind[:MAX_EXAMPLES]
        for position in (issue.position, issue.other)
        if position != NOBODY
    }
    encoded = {}
    for position, image in images.images(np.array(sorted(positions), np.int64)):
        content = thumbnails.encode(image, THUMBNAIL_SIZE)
        encoded[position] = {
            "name": str(images.names[position]),
            "split": str(images.splits[position]),
            "image": templates.data_uri(content),
        }
    split_names, counts = np.unique(images.splits, return_counts=True)
    return {
        "schema": inspection.SCHEMA,
        "version": inspection.VERSION,
        "dataset": dataset,
        "splits": dict(zip(split_names.tolist(), counts.tolist())),
        "lines": lines,
        "issues": [
            {
                "issue": name,
                "number": len(of_a_kind),
                "examples": [_example(issue, encoded) for issue in of_a_kind[:MAX_EXAMPLES]],
            }
            for name, of_a_kind in issues.items()
        ],
    }


def _example(issue, encoded):
    """An issue with its thumbnails; of classes and broken files only their names."""
    return {
        "image": encoded.get(issue.position, {"name": issue.file}),
        "other": encoded.get(issue.other, {"name": issue.other_file}),
        "score": round(issue.score, 4),
        "suggestion": issue.suggestion,
    }


def _write_page(directory, document):
    """Writes the report of the run again, or a page where there is none; returns its path."""
    if (directory / run_files.RESULTS).exists():
        path = directory / run_files.REPORT
        report.write([directory], path)
    else:
        path = directory / run_files.INSPECTION_PAGE
        templates.write(path, inspection.render(document), "the page of the inspection")
    return path
