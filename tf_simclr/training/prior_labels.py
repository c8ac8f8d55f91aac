"""Whether the networks that a training starts from have learned its labels."""

from collections.abc import Collection

from tf_simclr.config import Config, inheritance
from tf_simclr.config.label_tables import same_table
from tf_simclr.config.values import same_data_set
from tf_simclr.runs import files as run_files

# What decides, besides the data set, which labels are used and which are held out.
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
    for saved, is_head_used in _origins(flags, is_head_used=True):
        holds_out_the_same = saved["eval_every_epochs"] and has_same_labels(saved, flags)
        if _has_learned_labels(saved, is_head_used) and not holds_out_the_same:
            return True
    return False


def has_same_labels(saved: dict, flags: dict, names: Collection[str] = HELD_OUT_BY) -> bool:
    """Whether a run on the same data has the same labels; a table may have another name.

    Args:
        saved: its flags {flag name: value}.
        flags: to compare them with.
        names: flags that decide, among them "labels".
    """
    others = [name for name in names if name != "labels"]
    has_same_table = same_table(saved["labels"], flags["labels"], flags["dataset"])
    return has_same_table and all(saved[name] == flags[name] for name in others)


def may_know_labels(settings: Config, is_imported: bool) -> bool:
    """Whether features were learned from labels of the data, here or by what they come from.

    Args:
        settings: of a training or an evaluation.
        is_imported: whether weights from elsewhere are evaluated, which were not trained here.
    """
    flags = settings.flat()
    if not is_imported and _has_learned_labels(flags, is_head_used=False):
        return True
    origins = _origins(flags, is_head_used=False)
    return any(_has_learned_labels(saved, is_head_used) for saved, is_head_used in origins)


def _origins(flags, is_head_used):
    """Yields (flags, whether its linear head is used) of all that a run comes from, on its data.

    Args:
        flags: of the run.
        is_head_used: whether the linear head of the run itself is.
    """
    seen = set()
    starts = _starts(flags, is_head_used)
    while starts:
        start = starts.pop()
        path, is_head_used = start
        saved = inheritance.saved_flags(path) if path and start not in seen else None
        seen.add(start)
        if saved is None:
            continue
        is_of_other_data = not same_data_set(saved["dataset"], flags["dataset"])
        if is_of_other_data and not _is_export(path):
            continue
        yield saved, is_head_used
        starts += _starts(saved, is_head_used)


def _starts(flags, is_head_used):
    """[(path, whether its linear head is used)] of what a run starts from and learns from.

    Args:
        flags: of the run.
        is_head_used: whether the linear head of the run itself is.
    """
    is_head_kept = flags["train_mode"] == "pretrain" or flags["keep_logits_layer"]
    return [
        (flags["checkpoint"], is_head_kept and is_head_used),
        (flags["teacher_checkpoint"], flags["train_mode"] == "distill"),
    ]


def _has_learned_labels(saved, is_head_used):
    """A pretraining learns labels in the classifier on its side alone."""
    has_classifier = saved["lineareval_while_pretraining"] and is_head_used
    return saved["train_mode"] != "pretrain" or has_classifier


def _is_export(path):
    """Whether weights are an export of this package, whose flags do not name its data."""
    folder = inheritance.folder_of(path)
    return folder.name == inheritance.ASSETS and (folder / run_files.CONFIG).exists()
