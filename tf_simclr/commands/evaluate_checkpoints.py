"""Evaluates the checkpoints of a run that trains elsewhere, or that has ended: --mode=eval."""

import time

from absl import logging

from tf_simclr import distribute
from tf_simclr.checkpoints import pretrained, storage
from tf_simclr.commands import evaluate
from tf_simclr.errors import UserError
from tf_simclr.training import loop
from tf_simclr.training.experiment import Experiment

SECONDS_BETWEEN_CHECKS = 5  # for a newer checkpoint


def evaluate_run(experiment: Experiment):
    """Evaluates and exports the newest checkpoint, then each newer one while the run trains.

    Raises:
        UserError: the run directory has no checkpoint.
    """
    checkpoints = experiment.checkpoints
    evaluated = None
    start = time.monotonic()
    while True:
        # Before the look: the last checkpoint of a training that ends in between is seen.
        expects = _expects_checkpoints(experiment, start)
        latest = checkpoints.latest()
        is_agreed = _workers_agree(experiment, latest, expects)
        if is_agreed and latest is None and experiment.imported:
            _evaluate_imported(experiment)
            return
        if is_agreed and latest not in (None, evaluated):
            if not _resume(experiment, latest):
                continue
            evaluated = latest
            evaluate.evaluate_and_export(experiment)
            if int(checkpoints.step) >= experiment.num_steps:
                return
            start = time.monotonic()
        elif expects:
            time.sleep(SECONDS_BETWEEN_CHECKS)
        elif evaluated is None:
            raise UserError(
                f"--model_dir={experiment.directory.path}: it has no checkpoint to evaluate; "
                "train first, e.g. with --mode=train_then_eval"
            )
        else:
            return


def _expects_checkpoints(experiment, start):
    """Whether the run is in training, or may be within --eval_timeout, as any worker sees it."""
    timeout = experiment.settings.eval.eval_timeout
    expects = experiment.directory.in_training() or time.monotonic() - start < timeout
    return distribute.any_worker(experiment.strategy, expects)


def _workers_agree(experiment, latest, expects):
    """Whether all workers see the same newest checkpoint.

    Raises:
        Failed: they do not, and no training may be writing it.
    """
    step = -1 if latest is None else storage.step_of(latest)
    is_agreed = distribute.all_workers_agree(experiment.strategy, step)
    if not (is_agreed or expects):
        raise loop.workers_disagree(experiment, step)
    return is_agreed


def _resume(experiment, prefix):
    """Restores a checkpoint; False where the training has removed it meanwhile."""
    checkpoints = experiment.checkpoints
    is_removed = False
    try:
        checkpoints.resume(prefix)
    except UserError:
        if checkpoints.latest() == prefix:
            raise
        is_removed = True
    return not distribute.any_worker(experiment.strategy, is_removed)


def _evaluate_imported(experiment):
    """Evaluates weights from elsewhere, in a run directory of their own."""
    imported, network = experiment.imported, experiment.objective
    logging.info("no training here: evaluating --checkpoint=%s as it is", imported.path)
    variables = [v for layer in network.exported_layers() for v in layer.variables]
    pretrained.restore(imported, network, variables)
    experiment.lock_directory()
    experiment.commit_directory()
    evaluate.evaluate_and_export(experiment)
