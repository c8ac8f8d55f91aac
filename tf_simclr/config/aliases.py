"""What other programs call a flag, so that "did you mean" leads to the right one."""

from tf_simclr.errors import did_you_mean

ALIASES = {
    "arch": "resnet_depth",
    "architecture": "resnet_depth",
    "batch": "train_batch_size",
    "batch_size": "train_batch_size",
    "bs": "train_batch_size",
    "data": "dataset",
    "data_path": "dataset",
    "device": "strategy",
    "devices": "strategy",
    "epoch": "train_epochs",
    "epochs": "train_epochs",
    "fp16": "precision",
    "gpu": "strategy",
    "gpus": "strategy",
    "image_dir": "dataset",
    "img_size": "image_size",
    "imgsz": "image_size",
    "input_size": "image_size",
    "lr": "learning_rate",
    "max_epochs": "train_epochs",
    "max_steps": "train_steps",
    "model": "resnet_depth",
    "num_epochs": "train_epochs",
    "num_gpus": "strategy",
    "num_steps": "train_steps",
    "out_dir": "model_dir",
    "output": "model_dir",
    "output_dir": "model_dir",
    "random_seed": "seed",
    "resume": "model_dir",
    "save_dir": "model_dir",
    "semi": "semi_method",
    "size": "image_size",
    "steps": "train_steps",
    "tau": "temperature",
    "warmup": "warmup_epochs",
    "wd": "weight_decay",
    "weights": "checkpoint",
}


def flag_hint(name, flags, prefix: str = "") -> str:
    """A hint for an unknown flag or key, see `errors.did_you_mean`.

    Args:
        name: what was received.
        flags: the names of all flags.
        prefix: before the name of a flag where it is typed.
    """
    alias = ALIASES.get(str(name).lower().replace("-", "_"))
    candidates = [alias] if alias else flags
    return did_you_mean(f"{prefix}{name}", [f"{prefix}{flag}" for flag in candidates])
