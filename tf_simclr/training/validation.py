"""Evaluation while training, on a held-out part of the training split, and the best weights so far kept apart."""

import dataclasses
import functools
import math

import numpy as np
from absl import logging

from tf_simclr import distribute
from tf_simclr.checkpoints import checkpointer
from tf_simclr.checkpoints import files as checkpoint_files
from tf_simclr.config.stages import BEST_DIRECTORY
from tf_simclr.data import pipeline
from tf_simclr.data.source import UNLABELED
from tf_simclr.errors import UserError
from tf_simclr.evaluation import features, metrics
from tf_simclr.evaluation.metrics.base import Examples, NotPossible
from tf_simclr.objectives.supervised import Supervised
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.runs.files import BEST_RECORD

MAX_HELD_OUT, MAX_BANK = 2000, 5000  # images that each look at the weights takes
KNN_K, KNN_TEMPERATURE = 20, 0.1  # fixed, so that one point of a curve is comparable to the next
LAYERS = ("final_avg_pool", "logits_sup")
ACCURACY, KNN, RANK = "label_top_1_accuracy", "knn_accuracy", "feature_rank"


class Monitor:
    """Looks at the weights of a training every `eval_every_epochs` epochs and at its end; never where nothing is held out.

    Nothing that the training depends on changes: the network is in inference mode, and no random state is touched.
    """

    def __init__(self, experiment, start):
        settings, strategy, objective = (
            experiment.settings,
            experiment.strategy,
            experiment.objective,
        )
        self._experiment, self._said = experiment, set()
        self._every = (
            settings.eval.eval_every_epochs
            * experiment.num_images
            // settings.train.train_batch_size
            or 1
        )
        if experiment.held_out is None:
            return
        self._held_out = labeled_first(experiment.held_out, MAX_HELD_OUT, settings.train.seed)
        bank = experiment.train_source.labeled().at_most(MAX_BANK, settings.train.seed)
        self._options = dataclasses.replace(
            settings.eval, knn_k=min(KNN_K, bank.num_examples), knn_temperature=KNN_TEMPERATURE
        )
        compute = features.feature_mapper(
            features.layer_features(objective, LAYERS),
            objective.eval_example,
            settings.eval.eval_batch_size,
            strategy,
        )

        def rows(source):  # what has to be traced is traced once
            batches = pipeline.evaluation_batches(
                source, objective.eval_example, settings.eval.eval_batch_size, strategy
            )
            return functools.partial(compute, source, None, batches=batches)

        self._rows_of_held_out, self._rows_of_bank = (
            rows(self._held_out),
            rows(bank) if self._held_out.num_labeled else None,
        )
        self._best = Best(experiment, start)

    def due(self, step):
        """Whether to look after this step."""
        left = self._experiment.num_steps - step
        on_time = (
            step % self._every == 0 and left >= self._every / 2
        )  # shortly before the end, the end will do
        return self._experiment.held_out is not None and (on_time or not left)

    def look(self):
        """{figure name: float} of the weights as they are, which are kept if they are the best so far."""
        figures, criterion, step = (
            self._figures(),
            self._criterion(),
            int(self._experiment.checkpoints.step),
        )
        counted = self._held_out.num_examples if criterion == RANK else self._held_out.num_labeled
        best = self._best.offer(criterion, figures.get(criterion, math.nan), counted)
        shown = ", ".join(
            f"{name} {figures[name]:.4g}" for name in (ACCURACY, KNN, RANK) if name in figures
        )
        logging.info(
            "step %d, %d held-out images, %d with a label: %s%s",
            step,
            self._held_out.num_examples,
            self._held_out.num_labeled,
            shown or "nothing can be measured",
            f"; the best {criterion} so far" if best else "",
        )
        if step == self._experiment.num_steps:
            self._best.describe()
        return figures

    def _criterion(self):
        """The figure that the best weights have most of."""
        if not self._held_out.num_labeled:
            return RANK
        return ACCURACY if isinstance(self._experiment.objective, Supervised) else KNN

    def _figures(self):
        rows = self._rows_of_held_out()
        test = Examples(rows["final_avg_pool"], rows["label"])
        found = self._measured("health", None, test)
        if self._rows_of_bank is not None:
            bank = self._rows_of_bank()
            found |= self._measured("knn", Examples(bank["final_avg_pool"], bank["label"]), test)
            if "logits_sup" in rows:
                found |= self._measured(
                    "classifier", None, Examples(rows["logits_sup"], rows["label"])
                )
        return found

    def _measured(self, name, train, test):
        try:
            return metrics.run(name, train, test, self._options)[0]
        except NotPossible as reason:
            if name not in self._said:
                self._said.add(name)
                logging.info("%s of the held-out images is left out: %s", name, reason)
            return {}


class Best:
    """The best weights so far, in `best/` of the run directory: a checkpoint, what stands beside weights, and best.json.

    The process that writes decides alone what is best: figures of several workers may differ in the last digit.
    """

    def __init__(self, experiment, start):
        self._experiment, strategy = experiment, experiment.strategy
        self._directory = RunDirectory(
            experiment.directory.path / BEST_DIRECTORY, experiment.settings
        )
        self._chief = distribute.is_chief(strategy)
        self._checkpoints = checkpointer.Checkpointer(
            self._directory.path, experiment.objective, experiment.optimizer, strategy, keep=1
        )
        self._record = self._read(start) if self._chief else None

    def _read(self, start):
        """best.json, where it is of the checkpoint beside it and of a step that this training has done; what is not goes away."""
        record = self._directory.read(BEST_RECORD)
        try:
            saved = checkpoint_files.newest(self._directory.path)
        except UserError:
            checkpoint_files.set_aside(self._directory.path)
            saved = None
        if record and saved and checkpoint_files.step_of(saved) == record["step"] <= start:
            return record
        if record or saved:
            logging.info(
                "%s is not of the first %d steps of this training: looking for the best anew",
                self._directory.path,
                start,
            )
            for path in self._directory.path.iterdir():
                if not path.is_dir():
                    path.unlink()
        return None

    def offer(self, criterion, value, held_out):
        """Keeps the weights as they are if their `value` is more than that of all before. Returns whether it is.

        Args:
            criterion: what the value is. held_out: of how many images.
        """
        better = math.isfinite(value) and (self._record is None or value > self._record["value"])
        if not distribute.any_worker(self._experiment.strategy, self._chief and better):
            return False
        mine, current = self._checkpoints, self._experiment.checkpoints
        mine.step.assign(current.step)
        mine.seconds.assign(current.seconds)
        mine.skipped.assign(current.skipped)
        if self._chief:
            self._directory.create()
            self._experiment.write_about(self._directory)
        mine.save()
        if self._chief:
            self._record = {
                "step": int(mine.step),
                "criterion": criterion,
                "value": value,
                "held_out": held_out,
            }
            self._directory.write(BEST_RECORD, self._record)
        return True

    def describe(self):
        """Logs which weights are the best, and how to use them."""
        if self._record is not None:
            logging.info(
                "the best %s, %.4g, was at step %d; its weights are kept: --checkpoint=%s",
                self._record["criterion"],
                self._record["value"],
                self._record["step"],
                self._directory.path,
            )


def labeled_first(source, count, seed):
    """A seeded draw of at most `count` examples of an `Indexed` source, those with a label first."""
    order = np.random.default_rng(seed).permutation(source.num_examples)
    order = order[np.argsort(source.labels[order] == UNLABELED, kind="stable")]
    return source.take(np.sort(order[:count]))
