"""Findings of SimCLRv2: "Big Self-Supervised Models are Strong Semi-Supervised Learners"."""

from benchmarks.findings.grid import SERIES, Finding, Series, numbered
from benchmarks.findings.series import (
    FEW,
    FROZEN,
    LABELS,
    finetuned,
    pretrained,
    student,
    supervised,
)

TOP_1 = "top 1, %"
STUDENT_STEPS = 169  # of a student that sees all digits, 15 epochs of batches of 128

FINDINGS = {
    "fewer_labels": Finding(
        claim="The fewer labels, the larger the gain of pretraining, and bigger networks gain more "
        "(SimCLRv2, figures 1 and 4, table 1).",
        measure=TOP_1,
        axes={"width": numbered("width_multiplier", [0.25, 0.5, 1], "width {}"), "labels": LABELS},
        series={
            "pretrained": Series("pretrain", ("width",)),
            "fine-tuned": finetuned("width", "labels"),
            "linear": finetuned("width", "labels", **FROZEN),
            "supervised": supervised("width", "labels"),
        },
        lines=(SERIES, "width"),
        columns="labels",
    ),
    "head_start": Finding(
        claim="Fine-tuning that starts in the middle of a deeper projection head is better, above "
        "all with few labels (SimCLRv2, figures 5 and 6).",
        measure=TOP_1,
        axes={
            "head": numbered("num_proj_layers", [2, 3, 4], "head of {} layers"),
            "labels": FEW,
            "start": numbered("ft_proj_selector", [0, 1, 2], "from layer {}"),
        },
        series={
            "pretrained": Series("pretrain", ("head",)),
            "fine-tuned": finetuned("head", "labels", "start"),
        },
        lines=("head", "labels"),
        columns="start",
    ),
    "distillation": Finding(
        claim="Distillation on images without label improves on a fine-tuned network, and keeps "
        "its accuracy in a smaller one (SimCLRv2, table 2, figures 7 and 8).",
        measure=TOP_1,
        axes={"labels": FEW},
        series={
            "pretrained": Series("pretrain", (), {"width_multiplier": 0.5}),
            "teacher": finetuned("labels", width_multiplier=0.5),
            "worse teacher": supervised("labels", width_multiplier=0.5),
            "labels alone": supervised("labels"),
            "labels, distilled on labeled images": student(
                "labels", distill_alpha=0.1, distill_unlabeled=False, min_steps=STUDENT_STEPS
            ),
            "labels, distilled on all images": student("labels", distill_alpha=0.1),
            "distilled alone, half the width": student("labels"),
            "distilled alone, a quarter": student("labels", width_multiplier=0.125),
            # The gradient is ten times as long, so the learning rate is a tenth.
            "self-distilled": student(
                "labels", width_multiplier=0.5, distill_temperature=0.1, learning_rate=0.04
            ),
            "distilled from the worse teacher": student("labels", teacher="worse teacher"),
        },
        lines=(SERIES,),
        columns="labels",
    ),
    "memory": Finding(
        claim="A memory of past keys as further negatives helps, and less so with larger batches "
        "(SimCLRv2, section 2 and appendix D).",
        measure="linear probe with 20 labels, %",
        axes={
            "memory": {
                "no memory": {},
                "1,024 keys": {"memory_size": 1024, "memory_momentum": 0.99},
            },
            "batch": numbered("train_batch_size", [64, 256], "batch {}"),
        },
        series={"pretrained": pretrained("memory", "batch")},
        lines=("memory",),
        columns="batch",
    ),
}
