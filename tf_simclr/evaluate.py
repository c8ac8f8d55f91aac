"""Evaluates a run: figures to the log, TensorBoard and JSON files."""

import functools
import time

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr import distribute, export, optimizers, pretrained, report
from tf_simclr.config import UserError
from tf_simclr.evaluation import EVALUATIONS, NEED_TRAINING_FEATURES, features
from tf_simclr.export import card
from tf_simclr.stages import RESULT, evaluated_with

ENDPOINTS = ("final_avg_pool", "logits_sup")
UNTRAINED = "untrained.json"
NOT_OF_FIGURES = ("eval_name", "eval_timeout", "untrained_baseline")  # flags of evaluation that change no figure
SECONDS_BETWEEN_LOOKS = 5


def evaluate_run(experiment):
    """Evaluates and exports the newest checkpoint, then each newer one as long as the run is in training.

    Raises:
        UserError: the run directory has no checkpoint.
    """
    checkpoints, done, waited = experiment.checkpoints, None, time.monotonic()
    while True:
        latest = tf.train.latest_checkpoint(str(experiment.directory.path))
        if latest is None and experiment.imported:
            return _evaluate_imported(experiment)
        if latest is None and done is None and not _waiting(experiment, waited):
            raise UserError(f"--model_dir={experiment.directory.path}: it has no checkpoint to evaluate; train first, e.g. with --mode=train_then_eval")
        if latest is not None and latest != done:
            checkpoints.resume(latest)
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
    pretrained.restore(experiment.imported, network, [v for part in network.parts() for v in part.variables])
    experiment.lock_directory()
    experiment.commit_directory()
    evaluate_and_export(experiment)


def _waiting(experiment, since):
    return experiment.directory.in_training() or time.monotonic() - since < experiment.settings.eval.eval_timeout


def evaluate_and_export(experiment):
    """Figures and SavedModel of the weights as they are."""
    step = int(experiment.checkpoints.step)
    figures = {**evaluate(experiment), **describe(experiment)}
    if distribute.is_chief(experiment.strategy):
        write(experiment, step, figures)
        about = card.About(experiment.settings, experiment.class_names, step, figures, experiment.data)
        export.export(pretrained.copy_of(experiment.objective), about, experiment.directory.path, experiment.settings.export,
                      functools.partial(_some_images, experiment))
        experiment.directory.write(RESULT, {**figures, "global_step": step})  # last: at the last step it means that a stage is finished
    distribute.barrier(experiment.strategy)


def _some_images(experiment):
    """float32 [N, S, S, 3], images of the training as the network sees them in evaluation."""
    source = experiment.train_source
    rows = source.ordered().take(export.NUM_IMAGES).map(lambda record, label: experiment.objective.eval_example(source.decode(record), label)["image"])
    return np.stack(list(rows.as_numpy_iterator()))


def describe(experiment):
    """What the figures are of: {"evaluated_with", "total_steps", "labels", "parameters", "train_minutes"}."""
    return {
        "evaluated_with": evaluated_with(experiment.settings), "total_steps": experiment.num_steps, "labels": experiment.train_source.num_labeled,
        "parameters": experiment.objective.num_parameters(), "train_minutes": float(experiment.checkpoints.seconds) / 60}


def evaluate(experiment):
    """{figure name: value} of the objective's current weights on the evaluation split."""
    figures = {"eval/regularization_loss": float(optimizers.penalty(experiment.settings, experiment.objective))}
    if not experiment.train_source.num_labeled or not experiment.eval_source.num_labeled:
        logging.info("no labels to evaluate with: accuracies are left out")
        return figures
    bank, test = _bank(experiment), _test(experiment)
    figures |= {f"eval/{name}": value for name, value in _figures(experiment, experiment.objective, bank, test, "evaluating").items()}
    if experiment.settings.eval.untrained_baseline and bank is not None:
        figures |= {f"untrained/{name}": value for name, value in _untrained(experiment, bank, test).items()}
    return figures


def _untrained(experiment, bank, test):
    """The figures of the network with its initial weights; computed again only if what is evaluated has changed."""
    asked = {name: value for name, value in evaluated_with(experiment.settings).items() if name not in NOT_OF_FIGURES}
    saved = experiment.directory.read(UNTRAINED)
    if saved is None or saved["asked"] != asked:
        figures = _figures(experiment, experiment.make_objective(), bank, test, "evaluating the untrained network")
        # The linear classifier is part of what was trained: without training it has nothing to say.
        saved = {"asked": asked, "figures": {name: value for name, value in figures.items() if not name.startswith("label_top")}}
        if distribute.is_chief(experiment.strategy):
            experiment.directory.write(UNTRAINED, saved)
    return saved["figures"]


def _test(experiment):
    options, source = experiment.settings.eval, experiment.eval_source.labeled()
    return source.at_most(options.eval_steps * options.eval_batch_size) if options.eval_steps else source


def _bank(experiment):
    """Labelled training examples for k-NN and probe, a seeded draw of `knn_examples`; None if there are none."""
    options = experiment.settings.eval
    source = experiment.train_source.labeled()
    return source.at_most(options.knn_examples, experiment.settings.train.seed) if options.knn_examples else None


def _figures(experiment, objective, bank, test, what):
    extract = features.extractor(objective, ENDPOINTS, experiment.settings.eval.eval_batch_size, experiment.strategy)

    def arrays(source):
        rows = features.labeled(extract(source, f"{what}, {source.split}"))
        if not len(rows["label"]):
            raise UserError(f"{source.name}, split {source.split}: none of the examples has a label; give another --eval_split")
        return rows

    train = arrays(bank) if bank is not None else None
    held_out = arrays(test)
    chosen = [name for name in EVALUATIONS if train is not None or name not in NEED_TRAINING_FEATURES]
    return {figure: value for name in chosen for figure, value in EVALUATIONS[name](train, held_out, experiment.settings.eval)}


def write(experiment, step, figures):
    """result_<step>.json, TensorBoard events and a table in the log."""
    directory, name = experiment.directory, experiment.settings.eval.eval_name or "eval"
    result = {**figures, "global_step": step}
    directory.write(f"result_{step}.json", result)
    with tf.summary.create_file_writer(str(directory.path / name)).as_default(step):
        for figure, value in figures.items():
            if "/" in figure:
                tf.summary.scalar(figure, value)
    logging.info("step %d, %s split %s:\n\n%s\n", step, experiment.settings.data.dataset, experiment.settings.data.eval_split, report.results_table(result))
