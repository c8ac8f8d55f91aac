"""The flags.json that a run of the original SimCLR release leaves, and what it means here.

The original release is Google Research's SimCLR code for TensorFlow 2. The file has the same name
as ours, and besides its own flags those of absl.
"""

import json

from etils import epath

from tf_simclr.config.automatic import resolve_stem
from tf_simclr.config.published import ARCHITECTURE_FLAGS
from tf_simclr.config.recipes import CONFIG_FILE
from tf_simclr.errors import UserError

FLAG_OF_ABSL = "logtostderr"  # which we never write down
SAME_FLAGS = (  # with the same meaning there and here
    "resnet_depth",
    "width_multiplier",
    "sk_ratio",
    "se_ratio",
    "proj_head_mode",
    "proj_out_dim",
    "num_proj_layers",
    "ft_proj_selector",
    "batch_norm_decay",
    "global_bn",
    "train_mode",
    "image_size",
    "dataset",
    "train_split",
    "eval_split",
)
DEFAULT_IMAGE_SIZE = 224


def is_its(saved) -> bool:
    """Whether the content of a flags.json is of the original release."""
    return isinstance(saved, dict) and FLAG_OF_ABSL in saved


def flags(saved: dict) -> dict:
    """What a run of the original release is, as {flag name: value}.

    Args:
        saved: the content of its flags.json.
    """
    known = {name: saved[name] for name in SAME_FLAGS if saved.get(name) is not None}
    image_size = known.get("image_size", DEFAULT_IMAGE_SIZE)
    return {
        **known,
        "stem": resolve_stem("auto", image_size),
        "eval_crop": "centre",
        "resizing": "original",
    }


def network_flags(flags_of_run: dict) -> dict:
    """Those of all flags of a run that a training which starts from it has to agree in.

    Args:
        flags_of_run: {flag name: value}.
    """
    names = list(ARCHITECTURE_FLAGS)
    if flags_of_run["train_mode"] == "finetune":
        names.append("ft_proj_selector")
    return {name: flags_of_run[name] for name in names}


def saved_in(folder: epath.Path) -> dict | None:
    """The flags.json of the original release in a folder; None: there is none of it."""
    try:
        saved = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except Exception:  # of a file or a bucket
        return None
    return saved if is_its(saved) else None


def check_model_dir(model_dir: str):
    """A run of the original release can't be continued here.

    Raises:
        UserError: it is one.
    """
    if model_dir and saved_in(epath.Path(model_dir)) is not None:
        raise UserError(
            f"--model_dir={model_dir}: it holds a run of the original SimCLR release, which can't "
            f"be continued here; start from its weights or evaluate them with "
            f"--checkpoint={model_dir} and a new --model_dir"
        )
