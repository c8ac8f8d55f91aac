"""Flags whose value `auto` follows from others, or from runs: preprocessing, network, folders."""

from typing import NamedTuple

from tf_simclr.config.backbones import LAB, RESNET
from tf_simclr.config.registry import LAB_PRETEXTS

AUTO = "auto"
FULL_RANGE = "0,65535"
TOP_BYTE = "top_byte"
MAX_UINT16 = 2**16 - 1
SMALL_SIZE = 32  # up to this image size the CIFAR stem is used, and evaluation crops nothing


class Preprocessing(NamedTuple):
    """What is done to an image before the network sees it in evaluation.

    Attributes:
        size: height and width of the network's input in pixels.
        eval_crop: a key of `data.augment.EVAL_CROPS`.
        resizing: a key of `data.resizing.RESIZINGS`.
    """

    size: int
    eval_crop: str
    resizing: str


def limits_of(value_range: str) -> tuple[float, float] | None:
    """The numbers of --value_range; None where the upper 8 bits are taken.

    Raises:
        ValueError: it is none of the values that the flag accepts.
    """
    if value_range == TOP_BYTE:
        return None
    low, high = map(float, (FULL_RANGE if value_range == AUTO else value_range).split(","))
    if not 0 <= low < high <= MAX_UINT16:
        raise ValueError
    return low, high


def is_small(image_size: int) -> bool:
    """Whether images of this height and width count as small."""
    return image_size <= SMALL_SIZE


def resolve_stem(stem: str, image_size: int) -> str:
    """The stem that `stem` means for images of this height and width: "cifar" or "imagenet"."""
    if stem != AUTO:
        return stem
    return "cifar" if is_small(image_size) else "imagenet"


def _eval_crop(flags):
    return "centre" if flags["use_crop"] else "whole"


def _resizing(flags):
    return "antialias"


def _stem(flags):
    return resolve_stem(AUTO, flags["image_size"])


def _backbone(flags):
    is_pretraining = flags["train_mode"] == "pretrain"
    return LAB if is_pretraining and flags["pretext"] in LAB_PRETEXTS else RESNET


def _value_range(flags):
    return FULL_RANGE


def _long_warmup(flags):
    return "cut"


def _folder_layout(flags):
    return "recognized"


# {flag: function of all flags -> what `auto` means}. Before this the run that is continued, then
# the weights that are started from decide, see `inheritance`.
AUTOMATIC = {
    "eval_crop": _eval_crop,
    "resizing": _resizing,
    "backbone": _backbone,
    "stem": _stem,
    "folder_layout": _folder_layout,
    "value_range": _value_range,
    "long_warmup": _long_warmup,
}
OF_A_RUN = ("long_warmup",)  # decided only by the run that is continued
OF_A_DATASET = ("folder_layout",)  # decided only by runs with the same data set


def resolve(flags: dict) -> dict:
    """The flags, of which none is `auto` where that follows from others.

    Args:
        flags: {flag name: value} of all flags.
    """
    derived = {name: derive(flags) for name, derive in AUTOMATIC.items() if flags[name] == AUTO}
    return {**flags, **derived}
