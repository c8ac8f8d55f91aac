"""Predicts the classes of images: a table with how far each prediction can be trusted."""

import contextlib
import dataclasses
import functools
import os
import pathlib

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr import distribute
from tf_simclr.checkpoints import pretrained
from tf_simclr.commands import prediction_file
from tf_simclr.commands.image_set import build_extractor, load_all
from tf_simclr.commands.prediction_file import TRUTH, PredictionFile
from tf_simclr.config import Config
from tf_simclr.config.label_tables import NO_LABELS
from tf_simclr.console import Progress
from tf_simclr.data.folder_messages import OtherClass
from tf_simclr.data.unreadable import find_unreadable
from tf_simclr.errors import Interrupted, UserError, signal_of
from tf_simclr.evaluation import calibration as fitting
from tf_simclr.evaluation.network_features import LOGITS, fingerprint_of_weights
from tf_simclr.report.evaluated import ENCODER_OUTPUT
from tf_simclr.runs import files as run_files
from tf_simclr.runs.decisions import decide

# What files that are gone or broken raise, and other things, too.
READ_ERRORS = (OSError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError)


def predict(settings: Config, alone: bool = True):
    """Writes --predict_output, a row an image, see `prediction_file.COLUMNS`.

    Rows are appended to a partial file. The same command goes on after the last one that is there.

    Args:
        settings: the whole configuration.
        alone: whether it is a single run, not a stage of a chain.

    Raises:
        UserError: no weights, no linear head, no images, an ending that is not known, a path that
            can't be written to.
    """
    output = _output_path(settings)
    prediction_file.check(output)
    extractor = build_extractor(settings, alone)
    model = extractor.model
    if not model.class_names:
        path, flag = pretrained.weights_path(settings, alone)
        raise UserError(
            f"--{flag}={path}: this network has no linear head, so it predicts no classes; "
            f"fine-tune it on some labels first: --mode=train_then_eval --train_mode=finetune "
            f"--checkpoint={path} --dataset=folder:LABELED --model_dir=NEW"
        )
    calibration = _calibration(model, settings.predict.predict_precision)
    sources = _load(extractor)
    top_k = min(settings.predict.predict_top_k, max(len(model.class_names), 2))
    is_chief = distribute.is_chief(extractor.strategy)
    about = _about(model, calibration, sources, top_k)
    make_rows = functools.partial(_table_rows, model.class_names, calibration, top_k)
    with contextlib.closing(PredictionFile(output, about, top_k, is_chief)) as file:
        file.resume((name, source.split) for source in sources for name in source.names())
        distribute.barrier(extractor.strategy)  # all workers have read what the chief changes
        file.begin()
        _predict_all(extractor, sources, file, make_rows)
        file.finish()
        logging.info("%s: %s", output, file.tally.text())


def _output_path(settings):
    """The file to write, on a local disk: rows can't be appended to a file in a bucket."""
    default_output = os.path.join(settings.train.model_dir, run_files.PREDICTIONS)
    text = settings.predict.predict_output or default_output
    if "://" in text:
        raise UserError(
            f"--predict_output={text}: it is written row by row, which takes a local file; give "
            "one, and copy it afterwards"
        )
    return pathlib.Path(text)


def _calibration(model, precision):
    """The calibration of a model, with a threshold for a precision; it is said in the log."""
    calibration = model.calibration
    if calibration is None:
        logging.info(
            "no calibration: the probabilities are the network's own, and nothing is unsure or "
            "unlike anything; --mode=eval of the run fits one"
        )
        return None
    if calibration.precision != precision:
        correct = calibration.correct
        threshold = fitting.smallest_threshold(calibration.confidence, correct, precision)
        notes = [note for note in calibration.notes if not note.startswith(fitting.NO_THRESHOLD)]
        if threshold is None:
            notes.append(fitting.no_threshold(correct, precision))
        calibration = dataclasses.replace(
            calibration, precision=precision, threshold=threshold, notes=tuple(notes)
        )
    for line in calibration.lines:
        logging.info("calibration on %s: %s", calibration.labels_of, line)
    return calibration


def _about(model, calibration, sources, top_k):
    """{what the rows depend on: value}, but for the images, which go by their names."""
    return {
        "weights": fingerprint_of_weights(model.network.exported_layers()),
        "classes": list(model.class_names),
        "preprocessing": str(model.settings.preprocessing),
        "value range": str(model.settings.value_range),
        "calibration": calibration.fingerprint if calibration else "",
        "data": [f"{source.name}, {source.split}" for source in sources],
        "top k": top_k,
    }


def _predict_all(extractor, sources, file, make_rows):
    """Appends the rows that are not there yet."""
    num_images = sum(source.num_examples for source in sources)
    done = dict(file.tally.splits)
    try:
        with Progress("predicting", num_images, file.tally.images) as progress:
            for source in sources:
                rest = source.after(done.get(source.split, 0))
                _predict_source(extractor, rest, file, make_rows, progress)
    except KeyboardInterrupt as interrupt:
        file.save()
        raise Interrupted(
            f"interrupted; {file.tally.images} of {num_images} images are predicted, run the same "
            "command again to resume",
            signal_of(interrupt),
        ) from None


def _predict_source(extractor, source, file, make_rows, progress):
    """Appends the rows of a source; images that can't be read any more are left out of it."""
    while source.num_examples:
        num_before = file.tally.images
        try:
            names = source.names()
            for outputs in extractor.batches(source):
                predictions = make_rows(source.split, names, outputs)
                file.add(predictions)
                progress.update(len(predictions))
            return
        except READ_ERRORS:
            rest = source.after(file.tally.images - num_before)
            source = _readable(rest)
            if source is None:
                raise


def _readable(source):
    """The images of a source that can be read; None if that is all of them."""
    (unreadable,) = find_unreadable([source])
    if not unreadable.images:
        return None
    name, reason = unreadable.images[0]
    logging.warning(
        "%d of the images that are left can't be read any more and are skipped, e.g. %s: %s",
        len(unreadable.images),
        name,
        reason,
    )
    return source.take(np.flatnonzero(~unreadable.mask))


def _load(extractor):
    """The images. Their labels are not needed, so they may be of classes that train does not have.

    They are left out only then, and not if they are of a table: the split that is written to each
    row may follow from them.
    """
    try:
        return load_all(extractor)
    except OtherClass:
        if extractor.data.labels:
            raise
    data = dataclasses.replace(extractor.data, labels=NO_LABELS)
    return load_all(dataclasses.replace(extractor, data=data))


def _table_rows(class_names, calibration, top_k, split, names, outputs):
    """The rows of a batch of images.

    Args:
        class_names: of the linear head.
        calibration: of the classifier, or None.
        top_k: classes of a row.
        split: of the images.
        names: iterator over the names of the images, in their order.
        outputs: {"position", LOGITS, ENCODER_OUTPUT: [n, ...]}.
    """
    order = np.argsort(outputs["position"])  # several workers do not keep it
    logits, features = outputs[LOGITS][order], outputs[ENCODER_OUTPUT][order]
    if not np.isfinite(logits).all():
        raise UserError(
            "the network gives logits that are not finite, so it predicts nothing; its training "
            "has diverged, or its weights are damaged"
        )
    decisions = decide(logits, features, calibration, top_k)
    predictions = []
    for index, classes in enumerate(decisions.classes):
        texts = [f"{value:.6f}" for value in decisions.probabilities[index]]
        best = [class_names[label] for label in classes]
        if len(best) == 1:  # a network of a single class
            best, texts = [*best, ""], [*texts, ""]
        unsure, novelty = decisions.unsure, decisions.novelty
        row = [
            next(names),
            split,
            best[0],
            texts[0],
            best[1],
            f"{decisions.margin[index]:.6f}",
            TRUTH[None if unsure is None else bool(unsure[index])],
            "" if novelty is None else f"{novelty[index]:.4f}",
        ]
        for pair in zip(best[2:], texts[2:]):
            row += pair
        predictions.append(row)
    return predictions
