"""The 65 published SimCLRv2 models by name, such as simclrv2:r50_1x_sk0/pretrained.

Source: SimCLRv2 (Chen et al., "Big Self-Supervised Models are Strong Semi-Supervised Learners",
2020), table 1.
"""

from typing import NamedTuple

from tf_simclr.config.backbones import RESNET_FLAGS
from tf_simclr.errors import UserError, did_you_mean

SCHEME = "simclrv2:"
SK_RATIO = 0.0625


class Architecture(NamedTuple):
    """A row of table 1.

    Attributes:
        depth: of the ResNet.
        width: factor on all numbers of channels.
        has_selective_kernels: whether it has selective kernels.
        parameters: in millions.
        top1: accuracy on ImageNet in percent of each of `VARIANTS`.
    """

    depth: int
    width: int
    has_selective_kernels: bool
    parameters: int
    top1: tuple[float, ...]


# {name: flags besides those of the architecture}. `pretrained` has a linear head beside the three
# layers of the projection head; with few labels the linear head reads the first of these
# (SimCLRv2, section 3).
VARIANTS = {
    "pretrained": {"train_mode": "pretrain"},
    "finetuned_1pct": {"train_mode": "finetune", "ft_proj_selector": 1},
    "finetuned_10pct": {"train_mode": "finetune", "ft_proj_selector": 1},
    "finetuned_100pct": {"train_mode": "finetune"},
    "supervised": {"train_mode": "supervised"},
}
# top1 in the order of VARIANTS: that of `pretrained` is the linear evaluation.
ARCHITECTURES = {
    "r50_1x_sk0": Architecture(50, 1, False, 24, (71.7, 57.9, 68.4, 76.3, 76.6)),
    "r50_1x_sk1": Architecture(50, 1, True, 35, (74.6, 64.5, 72.1, 78.7, 78.5)),
    "r50_2x_sk0": Architecture(50, 2, False, 94, (75.6, 66.3, 73.9, 79.1, 77.8)),
    "r50_2x_sk1": Architecture(50, 2, True, 140, (77.7, 70.6, 77.0, 81.3, 79.3)),
    "r101_1x_sk0": Architecture(101, 1, False, 43, (73.6, 62.1, 71.4, 78.2, 78.0)),
    "r101_1x_sk1": Architecture(101, 1, True, 65, (76.3, 68.3, 75.1, 80.6, 79.6)),
    "r101_2x_sk0": Architecture(101, 2, False, 170, (77.0, 69.1, 75.8, 80.7, 78.9)),
    "r101_2x_sk1": Architecture(101, 2, True, 257, (79.0, 73.2, 78.8, 82.4, 80.1)),
    "r152_1x_sk0": Architecture(152, 1, False, 58, (74.5, 64.0, 73.0, 79.3, 78.3)),
    "r152_1x_sk1": Architecture(152, 1, True, 89, (77.2, 70.0, 76.5, 81.3, 79.9)),
    "r152_2x_sk0": Architecture(152, 2, False, 233, (77.4, 70.2, 76.6, 81.1, 79.1)),
    "r152_2x_sk1": Architecture(152, 2, True, 354, (79.4, 74.2, 79.4, 82.9, 80.4)),
    "r152_3x_sk1": Architecture(152, 3, True, 795, (79.8, 74.9, 80.1, 83.1, 80.5)),
}
# What a network that starts from one of them has to agree in; the linear head may be a new one.
ARCHITECTURE_FLAGS = (*RESNET_FLAGS, "proj_head_mode", "num_proj_layers", "proj_out_dim")


def is_name(path: str) -> bool:
    """Whether a path of weights is meant as the name of a published model."""
    return str(path).startswith(SCHEME)


def names() -> list[str]:
    """The names of all models."""
    return [
        f"{SCHEME}{architecture}/{variant}"
        for architecture in ARCHITECTURES
        for variant in VARIANTS
    ]


def split(name: str) -> tuple[str, str]:
    """(architecture, variant) of a name."""
    architecture, _, variant = name.removeprefix(SCHEME).partition("/")
    return architecture, variant


def check(name: str, label: str):
    """Checks that a model of this name was published.

    Args:
        name: of a model.
        label: how messages call it.

    Raises:
        UserError: it was not.
    """
    if name not in names():
        raise UserError(
            f"{label}: there is no such published model; they are "
            f"{SCHEME}ARCHITECTURE/VARIANT, and --mode=weights lists them."
            f"{did_you_mean(name, names())}"
        )


def top1(name: str) -> float:
    """Published top-1 accuracy on ImageNet in percent."""
    architecture, variant = split(name)
    return ARCHITECTURES[architecture].top1[list(VARIANTS).index(variant)]


def flags(name: str) -> dict:
    """What a published model is as {flag name: value}.

    Args:
        name: that `check` accepts.
    """
    architecture, variant = split(name)
    depth, width, has_selective_kernels, _, _ = ARCHITECTURES[architecture]
    return {
        "dataset": "imagenet2012",
        "image_size": 224,
        "eval_crop": "centre",
        "resizing": "original",
        "resnet_depth": depth,
        "width_multiplier": float(width),
        "sk_ratio": SK_RATIO if has_selective_kernels else 0.0,
        "se_ratio": 0.0,
        "stem": "imagenet",
        "proj_head_mode": "nonlinear",
        "num_proj_layers": 3,
        "proj_out_dim": 128,
        **VARIANTS[variant],
    }
