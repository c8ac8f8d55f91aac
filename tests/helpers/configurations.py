"""Tiny configurations and command lines of tests."""

from absl import flags as absl_flags

from tf_simclr.config import command_line

TINY = {
    "dataset": "digits",
    "eval_split": "test",
    "image_size": 16,
    "resnet_depth": 18,
    "width_multiplier": 0.07,
    "proj_out_dim": 8,
    "pretext_width": 32,
    "projector_dim": 16,
    "feature_queue": 20,
    "num_permutations": 8,
    "train_batch_size": 8,
    "train_steps": 3,
    "optimizer": "momentum",  # Adam has four times as much to trace
    "learning_rate": 0.05,
    "use_blur": False,
    "warmup_epochs": 0,
    "knn_k": 5,
    "strategy": "one_device",
}


def parse_command_line(*arguments):
    """What `flags.parse` makes of a command line, with absl flags of its own."""
    values = absl_flags.FlagValues()
    command_line.define(values)
    return command_line.parse(["run.py", *arguments], values)
