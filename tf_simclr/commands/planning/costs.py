"""What the steps and the evaluations of a stage take, by the pace of a short trial."""

import dataclasses

from tf_simclr import config
from tf_simclr.commands.planning.batch_sizes import LABEL_MODES, size_of
from tf_simclr.commands.planning.facts import Facts
from tf_simclr.evaluation.metrics.base import MAX_EXAMPLES

FORWARD_SHARE = 1 / 3  # of a training step; the gradient takes the rest
# Views of an image that go through a training step; a teacher is a forward pass. Small batches of
# labels take longer than their share of a large one (measured: 1.3 times).
VIEWS = {
    "pretrain": 2,
    "supervised": 1.3,
    "finetune": 1.3,
    "semi": 2,
    "distill": 1 + FORWARD_SHARE,
}
# What a stage takes besides its steps and the features of images, in times of the first step of a
# trial, which is mostly tracing: to start, to export and to write the report ...
OVERHEAD = 5.0
# ... and for the metrics and the map of MAX_MAPPED images, with all evaluations and with few.
METRICS = {False: 3.2, True: 1.2}
MAX_MAPPED = 1000
FITTED = 0.3  # ... and for the probes, of each thousand labels that they are fitted to
MAX_COMPARED = 1500  # images that are embedded once more, for what is unlike them and as views
LEAST_OVERHEAD = 8.0  # seconds
FEW_EVALUATIONS = ("classifier", "probe", "few_labels", "knn")
FEW_WITHOUT_LABELS = ("neighbors", "health")
# Labels that probes and k-NN are fitted to, with all evaluations and with few.
MAX_FITTED = {False: config.fields()["knn_examples"].default, True: 5000}


@dataclasses.dataclass(frozen=True)
class Pace:
    """How fast a network is trained.

    Attributes:
        first_step: seconds of the work of the first step, which is traced.
        step: seconds of each further step of pretraining.
    """

    first_step: float
    step: float

    def scaled(self, factor: float) -> "Pace":
        """The pace where a step has `factor` times the work."""
        return dataclasses.replace(self, step=self.step * factor)


@dataclasses.dataclass(frozen=True)
class Costs:
    """What things take.

    Attributes:
        is_brief: whether few evaluations are made.
        overhead: seconds of a stage besides its steps.
        baseline: seconds of the untrained network, whose results later stages take from the first.
        view: seconds that a view of an image takes in training.
        sizes: {training mode: images a step}.
    """

    is_brief: bool
    overhead: float
    baseline: float
    view: float
    sizes: dict[str, int]

    def of_all(self, stages):
        """Seconds of some stages besides their steps and starts."""
        return self.overhead * len(stages) + self.baseline

    def of(self, mode, facts):
        """(seconds a step, images an epoch) of a training mode."""
        is_on_labels = mode in LABEL_MODES
        num_images = facts.num_labels if is_on_labels else facts.num_images
        return self.view * VIEWS[mode] * self.sizes[mode], max(num_images, 1)

    def start(self, mode, facts):
        """Seconds before the first step: the features that a linear head starts on."""
        return facts.num_labels * self.view * FORWARD_SHARE if mode == "finetune" else 0.0


def costs_of(facts: Facts, pace: Pace, is_brief: bool) -> Costs:
    """What things take.

    Args:
        facts: of the images.
        pace: of pretraining at its batch size.
        is_brief: whether few evaluations are made.
    """
    sizes = {mode: size_of(facts, mode) for mode in VIEWS}
    view = pace.step / (VIEWS["pretrain"] * sizes["pretrain"])
    num_fitted = min(facts.num_labels, MAX_FITTED[is_brief])
    forward = view * FORWARD_SHARE
    num_evaluated = facts.num_evaluated
    if not facts.num_labels:  # a draw is enough
        num_evaluated = min(num_evaluated, MAX_EXAMPLES)
    baseline = (num_fitted + num_evaluated) * forward
    features = baseline + min(facts.num_images, MAX_COMPARED) * forward
    metrics = METRICS[is_brief] * min(num_evaluated, MAX_MAPPED) / MAX_MAPPED
    metrics += FITTED * num_fitted / 1000
    overhead = max((OVERHEAD + metrics) * pace.first_step, LEAST_OVERHEAD)
    return Costs(is_brief, overhead + features, baseline, view, sizes)
