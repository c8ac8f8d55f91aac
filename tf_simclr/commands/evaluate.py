"""Evaluates a run: figures to the log, TensorBoard and JSON files."""

import functools
import time

import numpy as np
from absl import logging

from tf_simclr import distribute, report
from tf_simclr.checkpoints import pretrained
from tf_simclr.commands import transfer
from tf_simclr.errors import UserError
from tf_simclr.evaluation import (
    evaluator,
    pretext_accuracy,
    report_images,
    results_json,
    tensorboard,
)
from tf_simclr.export import exporter, model_card
from tf_simclr.runs import files as run_files
from tf_simclr.runs.files import RESULT
from tf_simclr.training import optimizers

SECONDS_BETWEEN_LOOKS = 5


def evaluate_run(experiment):
    """Evaluates and exports the newest checkpoint, then each newer one as long as the run is in training.

    Raises:
        UserError: the run directory has no checkpoint.
    """
    checkpoints, done, waited = experiment.checkpoints, None, time.monotonic()
    while True:
        latest = checkpoints.latest()
        if latest is None and experiment.imported:
            return _evaluate_imported(experiment)
        if latest is None and done is None and not _waiting(experiment, waited):
            raise UserError(
                f"--model_dir={experiment.directory.path}: it has no checkpoint to evaluate; train first, e.g. with --mode=train_then_eval"
            )
        if latest is not None and latest != done:
            try:
                checkpoints.resume(latest)
            except UserError:
                if checkpoints.latest() == latest:  # else the training has removed it meanwhile
                    raise
                continue
            done = latest
            evaluate_and_export(experiment)
            waited = time.monotonic()
        if int(checkpoints.step) >= experiment.num_steps or not _waiting(experiment, waited):
            return
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _evaluate_imported(experiment):
    """Evaluates weights from elsewhere, in a run directory of their own."""
    network = experiment.objective
    logging.info("no training here: evaluating --checkpoint=%s as it is", experiment.imported.path)
    pretrained.restore(
        experiment.imported,
        network,
        [v for part in network.exported_layers() for v in part.variables],
    )
    experiment.lock_directory()
    experiment.commit_directory()
    evaluate_and_export(experiment)


def _waiting(experiment, since):
    return (
        experiment.directory.in_training()
        or time.monotonic() - since < experiment.settings.eval.eval_timeout
    )


def evaluate_and_export(experiment):
    """Figures, report and exports of the weights as they are; at the end of the training also how they do on other data sets."""
    step, sources = int(experiment.checkpoints.step), evaluator.data(experiment)
    findings, rows = evaluator.measure(experiment, sources)
    if not experiment.imported:
        findings.add(
            "trained", "classifier", pretext_accuracy.evaluate_pretext(experiment, sources.test), {}
        )
    about = describe(experiment)
    result = {
        "eval/regularization_loss": float(
            optimizers.weight_decay_penalty(experiment.settings, experiment.objective)
        ),
        **findings.flat(),
        **about,
    }
    chief = distribute.is_chief(experiment.strategy)
    if chief:
        experiment.directory.write(f"result_{step}.json", {**result, "global_step": step})
        shown = report_images.show(experiment, sources.test, rows, findings)
        tensorboard.write(
            experiment.directory.path,
            experiment.settings,
            step,
            {name: value for name, value in result.items() if "/" in name},
            rows,
            shown,
        )
        _tell(experiment, results_json.document(experiment, step, about, findings, sources, shown))
        exported = model_card.ModelDescription(
            experiment.settings, experiment.class_names, step, result, experiment.data
        )
        exporter.export(
            pretrained.float32_copy(experiment.objective),
            exported,
            experiment.directory.path,
            experiment.settings.export,
            functools.partial(_some_images, experiment),
        )
    distribute.barrier(experiment.strategy)
    if experiment.settings.eval.transfer_datasets and (
        experiment.imported or step >= experiment.num_steps
    ):
        shown_too = {
            "transfer": transfer.transfer(experiment, findings)
        }  # what is above is safe, whatever happens here
        if chief:
            _tell(
                experiment,
                results_json.document(
                    experiment, step, about, findings, sources, {**shown, **shown_too}
                ),
            )
    if chief:
        experiment.directory.write(
            RESULT, {**result, "global_step": step}
        )  # last: at the last step it means that a stage is finished
    distribute.barrier(experiment.strategy)


def _tell(experiment, document):
    """Writes results.json and the page; tables and where to look further in the log."""
    directory, run = experiment.directory.path, document["run"]
    experiment.directory.write(run_files.RESULTS, document, indent=None)
    logging.info(
        "step %d, %s split %s:\n\n%s\n",
        run["step"],
        run["dataset"],
        run["eval_split"],
        report.results_table(document),
    )
    report.write([directory], directory / run_files.REPORT)
    logging.info(
        "report: %s; TensorBoard: tensorboard --logdir=%s", directory / run_files.REPORT, directory
    )


def _some_images(experiment):
    """float32 [N, S, S, 3], images of the training as the network sees them in evaluation."""
    source = experiment.train_source
    rows = (
        source.ordered()
        .take(exporter.NUM_IMAGES)
        .map(
            lambda record, label: experiment.objective.eval_example(source.decode(record), label)[
                "image"
            ]
        )
    )
    return np.stack(list(rows.as_numpy_iterator()))


def describe(experiment):
    """What the figures are of: {"evaluated_with", "total_steps", "labels", "parameters", "train_minutes"}."""
    return {
        "evaluated_with": experiment.settings.evaluation_flags,
        "total_steps": experiment.num_steps,
        "labels": experiment.train_source.num_labeled,
        "parameters": experiment.objective.num_parameters(),
        "train_minutes": float(experiment.checkpoints.seconds) / 60,
    }
