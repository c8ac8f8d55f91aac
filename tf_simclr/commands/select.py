"""Asks for labels: which images to label next, as a table and as a page to label them on."""

import shlex

import numpy as np
from absl import logging

from tf_simclr import distribute
from tf_simclr.checkpoints import pretrained
from tf_simclr.commands import label_questions
from tf_simclr.commands.image_set import build_extractor, compute_image_set
from tf_simclr.commands.known_labels import known_labels
from tf_simclr.commands.label_questions import EvaluationDraw
from tf_simclr.commands.selecting import Request, choose
from tf_simclr.config import Config, label_tables
from tf_simclr.config.values import FOLDER
from tf_simclr.curation.selection import Selection
from tf_simclr.data import copies, datasets, division, folders, label_subset
from tf_simclr.data.source import UNLABELED, as_text, counted
from tf_simclr.errors import UserError
from tf_simclr.report import label_page
from tf_simclr.report.label_page import Question
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.training.earlier_runs import saved_by_runs

COLUMNS = ("rank", "file", "cluster", "why")
MAX_ON_PAGE = 1000  # images that were chosen; each is about 110 KB with those beside it


def select(settings: Config, alone: bool = True):
    """Writes to_label.csv and label.html into the run directory.

    Args:
        settings: the whole configuration.
        alone: whether it is a single run, not a stage of a chain.

    Raises:
        UserError: no weights, no images, none without a label, or nothing can be written.
    """
    extractor = build_extractor(settings, alone)
    directory = RunDirectory(settings.train.model_dir)
    directory.create()  # now, not after the work
    source = _with_usable_labels(extractor.load(extractor.data.train_split), extractor, settings)
    if source.num_labeled == source.num_examples:
        raise UserError(
            f"--mode=select: each of the {source.num_examples} images of split {source.split} has "
            f"a label; --labels={label_tables.NO_LABELS} takes them as unlabeled, "
            "--labels=FILE.csv takes the labels of the table alone"
        )
    eval_source = _load_eval_source(extractor)
    images = compute_image_set(extractor, [source], "features")
    is_trained_on = _is_trained_on(source, extractor.moved)
    request = Request(
        settings.select.select_count, settings.select.select_strategy, settings.train.seed
    )
    chosen = choose(images, is_trained_on, request)
    draw = _draw_to_evaluate(source, eval_source, is_trained_on, settings)
    if not distribute.is_chief(extractor.strategy):
        return
    on_page = chosen.first(MAX_ON_PAGE)
    if len(chosen.index) > MAX_ON_PAGE:
        logging.info(
            "the page has the first %d of the %d images chosen; label them and select again, or "
            "label by the table, which has all",
            MAX_ON_PAGE,
            len(chosen.index),
        )
    to_evaluate = label_questions.of_draw(draw)
    questions = [*label_questions.of_selection(images, on_page, is_trained_on), *to_evaluate]
    table = folders.table_of(extractor.data.dataset, extractor.data.labels)
    known = known_labels(extractor.data, table)
    if known is None:
        known = _labels_of_splits(source, eval_source)
    class_names = source.class_names or extractor.model.class_names
    page = label_page.render(
        questions, class_names, known, note=_note(settings, alone), splits=table and table.splits
    )
    _write(directory, _table(images.names, chosen, to_evaluate), page)


def _with_usable_labels(source, extractor, settings):
    """The training images with the labels that the run of the weights uses, and no others."""
    if not source.num_labeled:
        return source
    saved = saved_by_runs(run_files.LABELS, extractor.run_directories)
    usable, _ = label_subset.restrict(source, extractor.data, settings.train.seed, saved)
    return usable


def _load_eval_source(extractor):
    """The images to evaluate on; None where there are none yet."""
    data = extractor.data
    try:
        datasets.splits(data, extractor.moved)[data.eval_split]  # also a slice, or another name
    except KeyError:
        return None
    return datasets.load(data, data.eval_split, moved=extractor.moved)


def _is_trained_on(source, moved):
    """bool [N]: which images stay on the training side, whatever label they will get.

    In folders without splits the unlabeled images are all trained on; which are held out once they
    have a label follows from their contents.
    """
    if source.facts is None or source.facts.moved is None:
        return np.ones(source.num_examples, bool)
    exceptions = source.facts.moved if moved is None else moved
    held_out = [division.is_held_out(digest, exceptions) for digest in copies.digests(source)]
    return ~np.array(held_out)


def _draw_to_evaluate(source, eval_source, is_trained_on, settings):
    """Images to label that will not be trained on, drawn at random."""
    count = settings.select.select_eval_count
    sources = [] if eval_source is None else [eval_source.labeled(has_label=False)]
    if not is_trained_on.all():
        _, labels = source.example_ids()
        sources.append(source.take(np.flatnonzero(~is_trained_on & (labels == UNLABELED))))
    draw = EvaluationDraw.of(sources, count, settings.train.seed)
    if draw.num_images < count:
        logging.warning(
            "--select_eval_count=%d: split %s has %s without a label",
            count,
            settings.data.eval_split,
            counted(draw.num_images, "image"),
        )
    has_evaluation = eval_source is not None and eval_source.num_labeled
    if not (count or has_evaluation):
        logging.warning(
            "no image of split %s has a label, so nothing will say how good a classifier is; "
            "--select_eval_count=100 asks for some of them as well",
            settings.data.eval_split,
        )
    return draw


def _labels_of_splits(source, eval_source):
    """{name: class} of both splits; of the first alone if they share names, such as 0, 1, 2, ..."""
    known = _labels_of(source)
    if eval_source is None or not set(source.names()).isdisjoint(eval_source.names()):
        return known
    return known | _labels_of(eval_source)


def _labels_of(source):
    """{name: class} of the images that have a label."""
    names, labels = source.example_ids()
    is_labeled = labels != UNLABELED
    classes = [source.class_names[label] for label in labels[is_labeled]]
    return dict(zip(map(as_text, names[is_labeled]), classes))


def _note(settings, alone):
    dataset = settings.data.dataset
    if not dataset.startswith(FOLDER):
        return f"{dataset} has labels of its own: --labels takes tables for folders of images."
    path, _ = pretrained.weights_path(settings, alone)
    arguments = [f"--dataset={dataset}", f"--checkpoint={path}", "--labels=labels.csv"]
    return (
        "Put labels.csv beside the images, and train with python run.py "
        f"{shlex.join(arguments)} --train_mode=finetune,distill --budget=15m --model_dir=NEW"
    )


def _table(names: np.ndarray, chosen: Selection, to_evaluate: list[Question]) -> str:
    entries = list(zip(names[chosen.index], chosen.clusters, chosen.reasons))
    entries += [(question.name, question.cluster, question.why) for question in to_evaluate]
    lines = [COLUMNS]
    for rank, (name, cluster, why) in enumerate(entries, 1):
        lines.append((rank, name, cluster if cluster >= 0 else "", why))
    return run_files.csv_text(lines)


def _write(directory: RunDirectory, table: str, page: str):
    """Writes both files under new names, unless the same ones are there already."""
    number = _free_number(directory.path, table, page)
    table_name = run_files.numbered(run_files.TO_LABEL, number)
    page_name = run_files.numbered(run_files.LABEL_PAGE, number)
    directory.write_text(table_name, table)
    directory.write_text(page_name, page)
    logging.info("images to label: %s", directory.path / table_name)
    logging.info("open %s in a browser, label, and download labels.csv", directory.path / page_name)


def _free_number(path, table, page):
    """The number of the round.

    An earlier page may be in work, and is kept: another one in its place, with other labels or
    classes, would not find what the browser has kept of the answers.
    """
    number = 1
    while True:
        table_path = path / run_files.numbered(run_files.TO_LABEL, number)
        page_path = path / run_files.numbered(run_files.LABEL_PAGE, number)
        if _has_no_other(table_path, table) and _has_no_other(page_path, page):
            return number
        number += 1


def _has_no_other(path, text):
    """Whether a file has this text, or is not there."""
    return not path.exists() or path.read_text(encoding="utf-8") == text
