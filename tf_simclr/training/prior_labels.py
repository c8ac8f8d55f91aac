"""Whether the networks that a training starts from have learned labels that it holds out."""

from tf_simclr.config import Config, inheritance
from tf_simclr.config.stages import CHECKPOINT_FLAGS
from tf_simclr.config.values import same_data_set

# What decides, besides the data set, which labels are held out.
HELD_OUT_BY = (
    "train_split",
    "labels",
    "label_fraction",
    "labels_per_class",
    "labels_chosen",
    "holdout_fraction",
    "seed",
)


def may_know_held_out(settings: Config) -> bool:
    """Whether a start or a teacher, or what these come from, was trained on the labels held out.

    Args:
        settings: of a training that holds labels out.
    """
    flags = settings.flat()
    seen = set()
    paths = [flags[name] for name in CHECKPOINT_FLAGS]
    while paths:
        path = paths.pop()
        saved = inheritance.saved_flags(path) if path and path not in seen else None
        seen.add(path)
        if saved is None or not same_data_set(saved["dataset"], flags["dataset"]):
            continue
        holds_out_the_same = saved["eval_every_epochs"] and all(
            saved[name] == flags[name] for name in HELD_OUT_BY
        )
        if saved["train_mode"] != "pretrain" and not holds_out_the_same:
            return True
        paths += [saved[name] for name in CHECKPOINT_FLAGS]
    return False
