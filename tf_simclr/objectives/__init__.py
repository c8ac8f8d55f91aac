"""What can be trained: pretext tasks without labels, and what learns from labels or a teacher."""

import importlib

from tf_simclr.config import Config
from tf_simclr.config.registry import PRETEXTS, SEMI_METHODS
from tf_simclr.objectives.distillation import Distillation
from tf_simclr.objectives.supervised import Supervised

# By --train_mode; `pretrain` trains the class of `PRETEXTS` that --pretext names, `semi` that of
# `SEMI_METHODS` that --semi_method names.
WITH_LABELS = {"finetune": Supervised, "supervised": Supervised, "distill": Distillation}


def objective_class(settings: Config) -> type:
    """The subclass of `base.Objective` that a configuration trains."""
    train_mode = settings.objective.train_mode
    if train_mode in WITH_LABELS:
        return WITH_LABELS[train_mode]
    if train_mode == "semi":
        return _class_at(SEMI_METHODS[settings.semi.semi_method])
    return _class_at(PRETEXTS[settings.pretext.pretext])


def _class_at(path):
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)
