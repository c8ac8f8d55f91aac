"""What can be trained: pretext tasks without labels, and what learns from labels or a teacher."""

import importlib

from tf_simclr.config import Config
from tf_simclr.config.registry import PRETEXTS
from tf_simclr.objectives.distillation import Distillation
from tf_simclr.objectives.supervised import Supervised

# By --train_mode; `pretrain` trains the class of `PRETEXTS` that --pretext names.
WITH_LABELS = {"finetune": Supervised, "supervised": Supervised, "distill": Distillation}


def objective_class(settings: Config) -> type:
    """The subclass of `base.Objective` that a configuration trains."""
    train_mode = settings.objective.train_mode
    if train_mode in WITH_LABELS:
        return WITH_LABELS[train_mode]
    module, name = PRETEXTS[settings.pretext.pretext].rsplit(".", 1)
    return getattr(importlib.import_module(module), name)
