"""Findings of SimCLRv2: "Big Self-Supervised Models are Strong Semi-Supervised Learners"."""

from benchmarks.findings.grid import SERIES, Contrast, Finding, Series, numbered
from benchmarks.findings.series import (
    FEW,
    FROZEN,
    LABELS,
    finetuned,
    gain,
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
        contrasts=(
            gain(
                "gain of pretraining with 1%, width 0.25",
                ("fine-tuned, width 0.25", "1%"),
                ("supervised, width 0.25", "1%"),
            ),
            Contrast(
                "that gain above the one with 100%",
                (("fine-tuned, width 0.25", "1%"), ("supervised, width 0.25", "100%")),
                (("supervised, width 0.25", "1%"), ("fine-tuned, width 0.25", "100%")),
            ),
            Contrast(
                "gain with 1% of width 1 above that of width 0.25",
                (("fine-tuned, width 1", "1%"), ("supervised, width 0.25", "1%")),
                (("supervised, width 1", "1%"), ("fine-tuned, width 0.25", "1%")),
            ),
        ),
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
        contrasts=tuple(
            gain(
                f"layer 1 above the encoder, {line}",
                (line, "from layer 1"),
                (line, "from layer 0"),
            )
            for line in (
                "head of 2 layers, 1%",
                "head of 3 layers, 1%",
                "head of 4 layers, 1%",
                "head of 3 layers, 10%",
            )
        ),
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
        contrasts=(
            gain(
                "distilled on all images above labels alone, 1%",
                ("labels, distilled on all images", "1%"),
                ("labels alone", "1%"),
            ),
            gain(
                "distilled on all images above labels alone, 10%",
                ("labels, distilled on all images", "10%"),
                ("labels alone", "10%"),
            ),
            gain(
                "student of half the width above its teacher, 1%",
                ("distilled alone, half the width", "1%"),
                ("teacher", "1%"),
            ),
            gain(
                "student of a quarter above its teacher, 1%",
                ("distilled alone, a quarter", "1%"),
                ("teacher", "1%"),
            ),
        ),
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
        contrasts=(
            gain("memory above none", ("1,024 keys", "batch 64"), ("no memory", "batch 64")),
            Contrast(
                "more so with the smaller batch",
                (("1,024 keys", "batch 64"), ("no memory", "batch 256")),
                (("no memory", "batch 64"), ("1,024 keys", "batch 256")),
            ),
        ),
    ),
}
