"""What the grids of several findings have in common."""

from benchmarks.findings.grid import Contrast, Series

TOP_1 = {"top 1": ("eval/label_top_1_accuracy",)}
FEW_LABELS = {"20 labels": ("eval/few_labels_2_accuracy",)}  # two a class, mean of five draws
LABELS = {
    "1%": {"label_fraction": 0.01},
    "10%": {"label_fraction": 0.1},
    "100%": {"label_fraction": 1.0},
}
FEW = {label: LABELS[label] for label in ("1%", "10%")}
# A linear head that starts as logistic regression on the features, all of which stay as they are.
FROZEN = {
    "fine_tune_after_block": 4,
    "probe_init_logits_layer": True,
    "learning_rate": 0,
    "weight_decay": 0,
    "train_steps": 1,
}
FROM_PRETRAINED = {"checkpoint": "pretrained"}


def gain(text: str, above: tuple[str, str], below: tuple[str, str]) -> Contrast:
    """One cell (line, column) above another one."""
    return Contrast(text, (above,), (below,))


def pretrained(*axes: str) -> Series:
    """Networks whose features are probed."""
    return Series("pretrain", axes, metrics=FEW_LABELS)


def finetuned(*axes: str, **flags) -> Series:
    """Networks that start from `pretrained`."""
    return Series("finetune", axes, flags, FROM_PRETRAINED, TOP_1)


def supervised(*axes: str, **flags) -> Series:
    """Networks with the same labels from random weights."""
    return Series("supervised", axes, flags, metrics=TOP_1)


def student(*axes: str, teacher: str = "teacher", **flags) -> Series:
    """Networks from random weights that learn from those of the series `teacher`."""
    return Series("distill", axes, flags, {"teacher_checkpoint": teacher}, TOP_1)
