"""How to use a linear probe: the command that makes it a classifier."""

import shlex

from tf_simclr import config
from tf_simclr.config.values import as_flag
from tf_simclr.report.contenders import Contender, is_imported

TRAINING = {  # a fine-tuning that stays at its start, which is the probe
    "mode": "train_then_eval",
    "train_mode": "finetune",
    "ft_proj_selector": 0,
    "fine_tune_after_block": 4,
    "probe_init_logits_layer": True,
    "learning_rate": 0,
    "train_steps": 1,
}
# Flags of the run that are needed again: its data and its network.
SECTIONS = ("data", "model")
NAMES = ("image_size", "eval_crop", "resizing", "class_weights", "seed")


def of_probe(probe: Contender) -> str:
    """The command that trains no more than a linear head on the features of a probe.

    Args:
        probe: on features that were trained.
    """
    run = probe.run
    given = run.flags_given
    checkpoint = given.get("checkpoint") if is_imported(run) else str(run.directory)
    needed = {
        name: given[name]
        for name, field in config.fields().items()
        if name in given and (field.section in SECTIONS or name in NAMES)
    }
    flags = {**needed, **TRAINING, "checkpoint": checkpoint}
    texts = [shlex.quote(as_flag(name, value)) for name, value in flags.items()]
    return f"python run.py {' '.join(texts)} --model_dir=NEW"
