"""Evaluates a run: metrics to the log, TensorBoard, JSON files and the report; then exports."""

import shlex

import numpy as np
from absl import logging

from tf_simclr import distribute, report
from tf_simclr.checkpoints import backbones, pretrained
from tf_simclr.commands import calibrate, result_warnings, training_copies, transfer
from tf_simclr.commands.measurement import Measurement
from tf_simclr.data import label_subset
from tf_simclr.evaluation import (
    evaluator,
    pretext_accuracy,
    report_images,
    results_json,
    tensorboard,
)
from tf_simclr.evaluation.metrics import EVALUATIONS
from tf_simclr.export import exporter, model_card
from tf_simclr.runs import calibration as run_calibration
from tf_simclr.runs import files as run_files
from tf_simclr.runs.calibration import Calibration
from tf_simclr.training import optimizers, prior_labels
from tf_simclr.training.experiment import Experiment


def evaluate_and_export(experiment: Experiment):
    """Evaluates and exports the weights as they are.

    At the end of a training they are also tried on other data sets. What is written before is
    safe, whatever happens there.
    """
    measurement = measure(experiment)
    calibration = calibrate.calibrate(experiment, measurement)
    is_chief = distribute.is_chief(experiment.strategy)
    images = {}
    if is_chief:
        write_step_result(experiment, measurement)
        if calibration is not None:
            run_calibration.write(experiment.directory.path, calibration)
        images = write_images(experiment, measurement)
        write_events(experiment, measurement, images)
        images |= training_copies.find(measurement.data, measurement.features)
        write_report(experiment, measurement, images)
        export_weights(experiment, measurement, calibration)
    distribute.barrier(experiment.strategy)
    is_complete = experiment.imported or measurement.step >= experiment.num_steps
    if experiment.settings.eval.transfer_datasets and is_complete:
        transferred = transfer.transfer(experiment, measurement.results)
        if is_chief:
            write_report(experiment, measurement, {**images, "transfer": transferred})
    if is_chief:
        mark_finished(experiment, measurement)
    distribute.barrier(experiment.strategy)


def measure(experiment: Experiment) -> Measurement:
    """Evaluates the weights as they are."""
    settings, strategy, objective = experiment.settings, experiment.strategy, experiment.objective
    data = evaluator.evaluation_data(experiment.data.train_source, experiment.eval_source, settings)
    data = calibrate.with_calibration_data(data, experiment)
    names = settings.eval.evaluations
    if experiment.may_know_labels:
        names = tuple(name for name in names if not EVALUATIONS[name].needs_unseen_labels)
    logging.info("evaluating step %d: %s", int(experiment.checkpoints.step), ", ".join(names))
    results, features = evaluator.evaluate(
        objective,
        data,
        settings=settings,
        strategy=strategy,
        directory=experiment.directory,
        make_baseline=experiment.make_baseline,
        names=names,
        related=experiment.related,
    )
    if not experiment.imported:
        metrics = pretext_accuracy.evaluate_pretext(
            objective,
            data.test,
            batch_parts=experiment.data.batch_parts,
            settings=settings,
            strategy=strategy,
        )
        results.add("trained", "classifier", metrics, {})
    step = int(experiment.checkpoints.step)
    return Measurement(step, data, results, features, describe(experiment))


def describe(experiment: Experiment) -> dict:
    """What the metrics are of."""
    settings, objective = experiment.settings, experiment.objective
    is_selected = settings.data.labels_chosen == label_subset.SELECTED
    return {
        **({"labels_chosen": label_subset.SELECTED} if is_selected else {}),
        "regularization_loss": float(optimizers.weight_decay_penalty(settings, objective)),
        "evaluated_with": settings.evaluation_flags,
        "exported_with": settings.export_flags,
        "total_steps": experiment.num_steps,
        "labels": experiment.data.train_source.num_labeled,
        "parameters": objective.num_parameters(),
        "train_minutes": float(experiment.checkpoints.seconds) / 60,
    }


def write_step_result(experiment: Experiment, measurement: Measurement):
    """Writes the metrics of this step."""
    name = run_files.result_of_step(measurement.step)
    experiment.directory.write(name, measurement.saved_result)


def write_images(experiment: Experiment, measurement: Measurement) -> dict:
    """Writes the images of the report, and returns what is on them."""
    return report_images.write_report_images(
        experiment.directory.path,
        experiment.objective,
        source=measurement.data.test,
        train_source=experiment.data.batch_parts[0].source,
        features=measurement.features,
        results=measurement.results,
        settings=experiment.settings,
    )


def write_events(experiment: Experiment, measurement: Measurement, images: dict):
    """Writes TensorBoard events, and a line of `metrics.jsonl`."""
    tensorboard.write_events(
        experiment.directory.path,
        settings=experiment.settings,
        step=measurement.step,
        metrics=measurement.tags,
        features=measurement.features,
        report_images=images,
    )
    experiment.metrics_log.write(measurement.step, measurement.tags)
    experiment.metrics_log.flush()


def write_report(experiment: Experiment, measurement: Measurement, images: dict):
    """Writes results.json and the report; the log has tables, and where to look further."""
    logging.info("writing the report")
    directory = experiment.directory.path
    description = measurement.description
    run = {
        "step": measurement.step,
        "total_steps": description["total_steps"],
        "labels": description["labels"],
        "parameters": description["parameters"],
        "train_minutes": description["train_minutes"],
        "images": experiment.data.num_available,
        "learned_labels": prior_labels.may_know_labels(
            experiment.settings, experiment.imported is not None
        ),
    }
    document = results_json.document(
        directory,
        settings=experiment.settings,
        run=run,
        class_names=experiment.class_names or experiment.data.train_source.class_names,
        data=measurement.data,
        results=measurement.results,
        report_images=images,
        mode="eval" if experiment.imported else "train_then_eval",
        strategy=experiment.strategy,
    )
    experiment.directory.write(run_files.RESULTS, document, indent=None)
    logging.info(
        "step %d, %s split %s:\n\n%s\n",
        measurement.step,
        experiment.settings.data.dataset,
        experiment.settings.data.eval_split,
        report.results_table(document),
    )
    _log_labels_needed(document)
    result_warnings.warn(experiment.settings, measurement, document["run"]["class_names"])
    report.write([directory], directory / run_files.REPORT)
    logging.info(
        "report: %s; TensorBoard: tensorboard --logdir=%s",
        directory / run_files.REPORT,
        shlex.quote(str(directory)),
    )


def _log_labels_needed(document):
    sentences = report.labels_needed(document)
    if sentences:
        logging.info("labels that a linear probe takes: %s", " ".join(sentences))


def export_weights(
    experiment: Experiment, measurement: Measurement, calibration: Calibration | None
):
    """Exports the weights in all formats that are asked for."""
    logging.info("exporting")
    description = model_card.ModelDescription(
        experiment.settings,
        experiment.class_names,
        measurement.step,
        measurement.result,
        experiment.data_description,
        calibration,
        backbones.description(experiment.settings.model),
    )
    exporter.export(
        pretrained.float32_copy(experiment.objective),
        description,
        experiment.directory.path,
        options=experiment.settings.export,
        make_images=lambda: _training_images(experiment),
    )


def _training_images(experiment):
    """float32 [N, S, S, 3]: images of the training as the network sees them in evaluation."""
    source = experiment.data.train_source

    def image_of(record, label):
        return experiment.objective.eval_example(source.decode(record), label)["image"]

    # Drawn: the first images of a folder are of one class, whose ranges are not those of all.
    drawn = source.at_most(exporter.NUM_IMAGES, seed=0)
    images = drawn.ordered().map(image_of)
    return np.stack(list(images.as_numpy_iterator()))


def mark_finished(experiment: Experiment, measurement: Measurement):
    """Writes `result.json`, which at the last step means that a stage is finished."""
    experiment.directory.write(run_files.RESULT, measurement.saved_result)
