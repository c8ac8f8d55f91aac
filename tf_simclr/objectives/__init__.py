"""What can be trained: the pretext tasks of `pretexts.PRETEXTS` without labels, and what is here with them."""

import importlib

from tf_simclr.config.registry import PRETEXTS
from tf_simclr.objectives.distillation import Distillation
from tf_simclr.objectives.supervised import Supervised

WITH_LABELS = {
    "finetune": Supervised,
    "supervised": Supervised,
    "distill": Distillation,
}  # by --train_mode


def objective_class(settings):
    """The class (a subclass of `base.Objective`) that `settings` train."""
    if settings.objective.train_mode in WITH_LABELS:
        return WITH_LABELS[settings.objective.train_mode]
    module, name = PRETEXTS[settings.pretext.pretext].rsplit(".", 1)
    return getattr(importlib.import_module(module), name)
