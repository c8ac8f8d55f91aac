"""Evaluation during training, on a held-out part of the training split."""

import dataclasses
import functools
import math

import numpy as np
from absl import logging

from tf_simclr.config import Config
from tf_simclr.data import pipeline
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.source import UNLABELED
from tf_simclr.evaluation import features, metrics
from tf_simclr.evaluation.metrics.base import Examples, NotPossible
from tf_simclr.objectives.base import Objective
from tf_simclr.objectives.supervised import Supervised
from tf_simclr.training.best_checkpoint import BestCheckpoint

MAX_HELD_OUT = 2000  # held-out images that each validation takes
MAX_NEIGHBORS = 5000  # training images among which it looks for neighbors
# Fixed, so that one point of a curve is comparable to the next.
KNN_K = 20
KNN_TEMPERATURE = 0.1
FEATURES = "final_avg_pool"
LOGITS = "logits_sup"
ACCURACY = "label_top_1_accuracy"
BALANCED_ACCURACY = "label_balanced_accuracy"
KNN = "knn_accuracy"
RANK = "feature_rank"


class Validation:
    """Evaluates the weights every `eval_every_epochs` epochs, and at the end of the training.

    Nothing that the training depends on changes: the network is in inference mode, and no random
    state is touched.

    Args:
        objective: what is trained.
        held_out: images that are not trained on.
        train_source: the training images, whose labeled ones vote in k-NN.
        best: keeps the best weights.
        settings: the whole configuration.
        strategy: of the objective's variables.
        num_images: of an epoch.
        num_steps: of the training.
    """

    def __init__(
        self,
        objective: Objective,
        held_out: Indexed,
        *,
        train_source: Indexed,
        best: BestCheckpoint,
        settings: Config,
        strategy,
        num_images: int,
        num_steps: int,
    ):
        self._objective = objective
        self._best = best
        self._num_steps = num_steps
        images_between = settings.eval.eval_every_epochs * num_images
        self._steps_between = images_between // settings.train.train_batch_size or 1
        self._not_possible = set()  # evaluations whose reason was logged
        self._held_out = labeled_first(held_out, MAX_HELD_OUT, settings.train.seed)
        neighbors = train_source.labeled().at_most(MAX_NEIGHBORS, settings.train.seed)
        self._options = dataclasses.replace(
            settings.eval,
            knn_k=min(KNN_K, neighbors.num_examples),
            knn_temperature=KNN_TEMPERATURE,
        )
        compute = features.feature_mapper(
            features.layer_features(objective, (FEATURES, LOGITS)),
            objective.eval_example,
            settings.eval.eval_batch_size,
            strategy,
        )

        def arrays_of(source):  # what has to be traced is traced once
            batches = pipeline.evaluation_batches(
                source, objective.eval_example, settings.eval.eval_batch_size, strategy
            )
            return functools.partial(compute, source, None, batches=batches)

        self._held_out_arrays = arrays_of(self._held_out)
        self._neighbor_arrays = arrays_of(neighbors) if self._held_out.num_labeled else None

    def is_due(self, step: int) -> bool:
        """Whether to evaluate after this step."""
        steps_left = self._num_steps - step
        if steps_left == 0:
            return True
        # Shortly before the end, the evaluation at the end will do.
        is_near_the_end = steps_left < self._steps_between / 2
        return step % self._steps_between == 0 and not is_near_the_end

    def evaluate(self, step: int) -> dict[str, float]:
        """Evaluates the weights after `step`, which are kept if they are the best so far.

        Returns:
            {metric name: value}.
        """
        results = self._evaluate_held_out()
        criterion = self._criterion()
        num_images, num_labels = self._held_out.num_examples, self._held_out.num_labeled
        is_best = self._best.update(
            criterion,
            results.get(criterion, math.nan),
            num_images if criterion == RANK else num_labels,
        )
        named = dict.fromkeys((ACCURACY, criterion, KNN, RANK))
        texts = [f"{name} {results[name]:.4g}" for name in named if name in results]
        logging.info(
            "step %d, %d held-out images, %d with a label: %s%s",
            step,
            num_images,
            num_labels,
            ", ".join(texts) or "nothing can be measured",
            f"; the best {criterion} so far" if is_best else "",
        )
        if step == self._num_steps:
            self._best.log_summary()
        return results

    def _criterion(self):
        """The metric whose highest value makes weights the best."""
        if not self._held_out.num_labeled:
            return RANK
        if not isinstance(self._objective, Supervised):
            return KNN
        return BALANCED_ACCURACY if self._options.balances_classes else ACCURACY

    def _evaluate_held_out(self):
        arrays = self._held_out_arrays()
        labels = arrays["label"]
        test = Examples(arrays[FEATURES], labels)
        results = self._run("health", None, test)
        if self._neighbor_arrays is None:
            return results
        neighbors = self._neighbor_arrays()
        train = Examples(neighbors[FEATURES], neighbors["label"])
        results |= self._run("knn", train, test)
        if LOGITS in arrays:
            results |= self._run("classifier", None, Examples(arrays[LOGITS], labels))
        return results

    def _run(self, name, train, test):
        try:
            return metrics.run(name, train, test, self._options)[0]
        except NotPossible as reason:
            if name not in self._not_possible:
                self._not_possible.add(name)
                logging.info("%s of the held-out images is left out: %s", name, reason)
            return {}


def labeled_first(source: Indexed, count: int, seed: int) -> Indexed:
    """A seeded draw of at most `count` examples, those with a label first."""
    order = np.random.default_rng(seed).permutation(source.num_examples)
    is_unlabeled = source.labels[order] == UNLABELED
    order = order[np.argsort(is_unlabeled, kind="stable")]
    return source.take(np.sort(order[:count]))
