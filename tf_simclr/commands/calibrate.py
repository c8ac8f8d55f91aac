"""Calibrates the classifier of a run on labels that it was not trained on."""

import dataclasses

import numpy as np
from absl import logging

from tf_simclr.commands.measurement import Measurement
from tf_simclr.config.splits import overlap
from tf_simclr.data.source import UNLABELED, counted
from tf_simclr.evaluation import calibration
from tf_simclr.evaluation.calibration import HeldOut
from tf_simclr.evaluation.metrics.base import by_blocks, draw
from tf_simclr.evaluation.network_features import LOGITS, EvaluationData
from tf_simclr.report.evaluated import CLASSIFIER, ENCODER_OUTPUT
from tf_simclr.report.metric_names import calibration_error_text
from tf_simclr.runs.calibration import Calibration
from tf_simclr.training import prior_labels
from tf_simclr.training.experiment import Experiment

MAX_HELD_OUT = 10_000  # labels that are used, a draw of more
ERROR = "calibrated_calibration_error"


def with_calibration_data(data: EvaluationData, experiment: Experiment) -> EvaluationData:
    """Adds the images that a calibration takes besides the test images.

    Args:
        data: what is evaluated on.
        experiment: of the run; without a linear head there is nothing to add.
    """
    if not experiment.num_classes:
        return data
    training_data, seed = experiment.data, experiment.settings.train.seed
    held_out = training_data.held_out
    if held_out is not None:
        held_out = held_out.labeled().at_most(MAX_HELD_OUT, seed)
        if held_out.num_examples < calibration.MIN_LABELS:
            held_out = None
        elif prior_labels.may_know_held_out(experiment.settings):
            held_out = _instead_of_known_labels(held_out, experiment)
    reference = training_data.train_source.at_most(calibration.MAX_REFERENCE, seed)
    return dataclasses.replace(data, held_out=held_out, reference=reference.without_labels())


def _instead_of_known_labels(held_out, experiment):
    """None, for the evaluation split, where it can take the place of labels that were learned."""
    data, eval_source = experiment.settings.data, experiment.eval_source
    known = "calibration: what the training started from has learned the labels held out here"
    is_trained_on = overlap(data.train_split, data.eval_split)
    if is_trained_on or eval_source.num_labeled < calibration.MIN_LABELS:
        logging.warning("%s, and there are no others: probabilities may be too sure", known)
        return held_out
    logging.info("%s, so those of split %s are taken", known, data.eval_split)
    return None


def calibrate(experiment: Experiment, measurement: Measurement) -> Calibration | None:
    """Calibrates the classifier, and adds the calibration error that is left to the results.

    Args:
        experiment: of the run.
        measurement: of its weights; it gets the calibration error as a metric.

    Returns:
        None without a linear head.
    """
    features = measurement.features
    if LOGITS not in features.test:
        return None
    held_out = _held_out(experiment, features)
    reference = (features.reference or {}).get(ENCODER_OUTPUT)
    fitted = calibration.fit(
        held_out,
        reference,
        step=measurement.step,
        precision=experiment.settings.predict.predict_precision,
    )
    for line in fitted.lines:
        logging.info("calibration on %s: %s", held_out.labels_of, line)
    _add_error(fitted, held_out, features, measurement.results)
    return fitted


def _held_out(experiment, features):
    """What the network makes of images that it was not trained on, and where they are from."""
    data = experiment.settings.data
    arrays, source = features.held_out, f"held out of split {data.train_split}"
    if arrays is None:
        arrays, source = features.test, f"split {data.eval_split}"
        if overlap(data.train_split, data.eval_split):
            source += ", which is trained on"
            arrays = {name: values[:0] for name, values in arrays.items()}
    labeled = np.flatnonzero(arrays["label"] != UNLABELED)
    drawn = labeled[draw(len(labeled), MAX_HELD_OUT)]
    labels = arrays["label"][drawn]
    return HeldOut(
        logits=np.asarray(arrays[LOGITS])[drawn],
        labels=labels,
        features=arrays.get(ENCODER_OUTPUT),
        labels_of=f"{counted(len(labels), 'label')}, {source}",
    )


def _add_error(fitted, held_out, features, results):
    """Adds the calibration error on the test images, which no temperature was fitted on."""
    if fitted.temperature is None:
        return
    if features.held_out is None:
        labels = held_out.labels
        probabilities = calibration.cross_fitted_probabilities(held_out.logits, labels)
    else:
        labels = features.test["label"]
        probabilities = by_blocks(fitted.probabilities, features.test[LOGITS])
    if (labels != UNLABELED).all():  # as all or none of the test images
        error = calibration.calibration_error(probabilities, labels)
        by_chance = calibration.calibration_error_by_chance(probabilities)
        results.add("trained", CLASSIFIER, {ERROR: error}, {f"{ERROR}_by_chance": by_chance})
        text = calibration_error_text(error, by_chance)
        images = counted(len(labels), "image")
        logging.info("calibration error with that temperature on %s: %s", images, text)
