"""How backbones and baselines are named: ours, or a published network. No TensorFlow."""

import os

from tf_simclr.errors import UserError, did_you_mean

RESNET = "resnet"
LAB = "lab"  # two ResNets, of the lightness of an image and of its colors
# What these are; without a meaning for published backbones.
RESNET_FLAGS = ("resnet_depth", "width_multiplier", "sk_ratio", "se_ratio", "stem")
PUBLISHED = "hub:"
KERAS_FILE = ".keras"
# What --baselines names beside published networks.
UNTRAINED, PIXELS = "untrained", "pixels"
RESERVED = ("eval", "trained", UNTRAINED, PIXELS)  # names of networks, and in tags
FORMS = "hub:PRESET of keras-hub, hub:FOLDER of save_to_preset and hub:FILE.keras"
# What --backbone_input names: the values of the images that a backbone sees.
INPUTS = ("unit", "signed", "imagenet", "bytes")


def is_published(backbone: str) -> bool:
    """Whether it is a published network, not one of this package."""
    return backbone.startswith(PUBLISHED)


def source_of(backbone: str) -> str:
    """The preset, folder or file of a published backbone."""
    return os.path.expanduser(backbone.removeprefix(PUBLISHED))


def name_of(backbone: str) -> str:
    """What a published backbone is called: its preset, or the last component of its path."""
    return os.path.basename(source_of(backbone).rstrip("/")).removesuffix(KERAS_FILE)


def without_path(backbone: str) -> str:
    """The value of --backbone, of a folder or file its last component alone."""
    is_path = is_published(backbone) and "://" not in backbone
    return f"{PUBLISHED}{name_of(backbone)}" if is_path else backbone


def check(flag: str, backbone: str, *others: str):
    """Checks the form of a name.

    Args:
        flag: whose value it is.
        backbone: one of this package or a published one.
        others: what is accepted instead of those of this package; none: these are.

    Raises:
        UserError: it has none of the forms.
    """
    names = others or ("auto", RESNET, LAB)
    if backbone in names or (is_published(backbone) and name_of(backbone)):
        return
    if os.path.isdir(backbone) or backbone.endswith(KERAS_FILE):
        raise UserError(f"--{flag}={backbone}: of a path it is --{flag}={PUBLISHED}{backbone}")
    hint = "" if is_published(backbone) else did_you_mean(backbone, names)
    raise UserError(
        f"--{flag}={backbone}: accepted are {', '.join(names)}, {FORMS}, "
        f"e.g. --{flag}={PUBLISHED}dinov2_small.{hint}"
    )


def check_baselines(names: tuple[str, ...]):
    """Checks the values of --baselines.

    Raises:
        UserError: one has none of the forms, or two would have the same name in the tables.
    """
    titles = {}
    for name in names:
        check("baselines", name, UNTRAINED, PIXELS)
        other = titles.setdefault(name_of(name), name)
        if other != name or (name_of(name) in RESERVED and is_published(name)):
            raise UserError(
                f"--baselines={','.join(names)}: {name} has the name of another network in the "
                f"tables, {name_of(name)}; rename its folder or file"
            )


def baselines_of(flags: dict) -> tuple[str, ...]:
    """What is evaluated beside the trained network, each once.

    Args:
        flags: {flag name: value}.
    """
    names = dict.fromkeys(flags["baselines"])
    if not flags["untrained_baseline"]:
        names = [name for name in names if is_published(name)]
    return tuple(names)
