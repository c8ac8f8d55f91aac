"""Findings of SimCLR: "A Simple Framework for Contrastive Learning of Visual Representations"."""

from benchmarks.findings import images
from benchmarks.findings.grid import METRIC, SERIES, Contrast, Finding, Series, numbered
from benchmarks.findings.series import (
    FROM_PRETRAINED,
    FROZEN,
    finetuned,
    gain,
    pretrained,
    supervised,
)

PROBE = "linear probe with 20 labels, %"
AUGMENTATIONS = {
    "crop": {"use_crop": True},
    "color": {"color_jitter_strength": 0.5},
    "blur": {"use_blur": True},
    "rotation": {"max_rotation": 180},
    "cutout": {"cutout": 0.5},
}
# Before and after the head; without a head they are the same.
OF_THE_HEAD = {
    "h": ("eval/linear_probe_accuracy",),
    "z": (
        "eval/proj_head_3/linear_probe_accuracy",
        "eval/proj_head_1/linear_probe_accuracy",
        "eval/linear_probe_accuracy",
    ),
}
SOURCES = {"from CIFAR-10": {"dataset": "cifar10"}, "from digits": {"dataset": "digits"}}
TARGETS = {"on CIFAR-10": {"dataset": "cifar10"}, "on digits": {"dataset": "digits"}}


def _is_in_order(labels):
    """A pair of augmentations has one order; one with itself stands for it alone."""
    names = list(AUGMENTATIONS)
    return names.index(labels["augmentation"]) <= names.index(labels["with"])


def _probe_of_head(**flags):
    """The features of `pretrained` on other images, whose labels say something else."""
    flags = {**FROZEN, "probe_init_logits_layer": False, "ft_proj_selector": -1, **flags}
    return Series("finetune", ("head",), flags, FROM_PRETRAINED, OF_THE_HEAD)


FINDINGS = {
    "augmentations": Finding(
        claim="No augmentation suffices by itself; crop and color together stand out (SimCLR, "
        "figure 5).",
        measure=f"{PROBE}; on the diagonal one augmentation alone",
        axes={"augmentation": AUGMENTATIONS, "with": AUGMENTATIONS},
        series={"pretrained": pretrained("augmentation", "with")},
        lines=("augmentation",),
        columns="with",
        contrasts=(
            gain("crop and color above crop alone", ("crop", "color"), ("crop", "crop")),
            gain("crop and color above color alone", ("crop", "color"), ("color", "color")),
            gain("crop and color above crop and cutout", ("crop", "color"), ("crop", "cutout")),
        ),
        has_stage=_is_in_order,
        is_matrix=True,
    ),
    "head_kind": Finding(
        claim="A nonlinear head is better than a linear one, and that than none; h, before the "
        "head, is better than z, which has lost what augmentations change (SimCLR, figure 8, "
        "table 3).",
        measure="linear probe with all labels, %",
        axes={
            "head": {
                "no head": {"proj_head_mode": "none"},
                "linear head": {
                    "proj_head_mode": "linear",
                    "eval_layers": "final_avg_pool,proj_head_1",
                },
                "nonlinear head": {"eval_layers": "final_avg_pool,proj_head_3"},
            }
        },
        series={
            "pretrained": Series("pretrain", ("head",)),
            "digit": _probe_of_head(),
            "rotation": _probe_of_head(dataset="folder:{folder}/rotation"),
            "brightness": _probe_of_head(dataset="folder:{folder}/brightness"),
        },
        lines=(SERIES, "head"),
        columns=METRIC,
        contrasts=(
            gain(
                "nonlinear above linear head, digit",
                ("digit, nonlinear head", "h"),
                ("digit, linear head", "h"),
            ),
            gain(
                "linear head above none, digit",
                ("digit, linear head", "h"),
                ("digit, no head", "h"),
            ),
            *(
                gain(
                    f"h above z, {question}",
                    (f"{question}, nonlinear head", "h"),
                    (f"{question}, nonlinear head", "z"),
                )
                for question in ("digit", "rotation", "brightness")
            ),
        ),
        make_data=images.write_altered_digits,
    ),
    "batch_and_epochs": Finding(
        claim="Larger batches are better in few epochs; with more epochs the gap closes (SimCLR, "
        "figure 9).",
        measure=PROBE,
        axes={
            "batch": {
                "batch 64": {"train_batch_size": 64},
                "batch 256": {"train_batch_size": 256},
                "batch 1024": {"train_batch_size": 1024, "accumulate_steps": 4},
            },
            "epochs": numbered("train_epochs", [5, 10, 20], "{} epochs"),
        },
        series={"pretrained": pretrained("batch", "epochs")},
        lines=("batch",),
        columns="epochs",
        contrasts=(
            gain(
                "batch 1024 above 64 in 5 epochs",
                ("batch 1024", "5 epochs"),
                ("batch 64", "5 epochs"),
            ),
            Contrast(
                "that gap above the one in 20 epochs",
                (("batch 1024", "5 epochs"), ("batch 64", "20 epochs")),
                (("batch 64", "5 epochs"), ("batch 1024", "20 epochs")),
            ),
            gain(
                "batch 256 above 64 in 113 steps",
                ("batch 256", "20 epochs"),
                ("batch 64", "5 epochs"),
            ),
        ),
    ),
    "temperature": Finding(
        claim="The right temperature matters, and without normalization features are worse "
        "(SimCLR, table 5).",
        measure=PROBE,
        axes={
            "similarity": {"normalized": {}, "not normalized": {"hidden_norm": False}},
            "temperature": numbered("temperature", [0.1, 0.5, 1, 10], "temperature {}"),
        },
        series={"pretrained": pretrained("similarity", "temperature")},
        lines=("similarity",),
        columns="temperature",
        contrasts=(
            gain(
                "temperature 0.5 above 1",
                ("normalized", "temperature 0.5"),
                ("normalized", "temperature 1"),
            ),
            gain(
                "temperature 0.5 above 10",
                ("normalized", "temperature 0.5"),
                ("normalized", "temperature 10"),
            ),
            gain(
                "normalized at 0.5 above not normalized at 10",
                ("normalized", "temperature 0.5"),
                ("not normalized", "temperature 10"),
            ),
        ),
    ),
    "transfer": Finding(
        claim="The features are of use for other data: probed and fine-tuned there, beside "
        "networks from random weights (SimCLR, table 8).",
        measure="top 1, %",
        axes={"source": SOURCES, "target": TARGETS},
        series={
            "pretrained": Series("pretrain", ("source",)),
            "probe": finetuned("source", "target", **FROZEN),
            "fine-tuned": finetuned("source", "target"),
            "random weights": supervised("target"),
        },
        lines=(SERIES, "source"),
        columns="target",
        contrasts=tuple(
            gain(
                f"{line} above random weights, {column}",
                (line, column),
                ("random weights", column),
            )
            for line, column in (
                ("probe, from CIFAR-10", "on digits"),
                ("fine-tuned, from CIFAR-10", "on digits"),
                ("probe, from CIFAR-10", "on CIFAR-10"),
                ("probe, from digits", "on CIFAR-10"),
            )
        ),
    ),
}
