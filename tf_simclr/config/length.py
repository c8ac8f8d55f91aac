"""How long a training is: the only thing that may change while a run exists. No TensorFlow."""

import dataclasses

from tf_simclr.config.sections import TrainConfig
from tf_simclr.errors import UserError

LENGTH_FLAGS = ("train_epochs", "train_steps")


@dataclasses.dataclass(frozen=True)
class Length:
    """How long a training is to be.

    Attributes:
        flag: the one of `LENGTH_FLAGS` that counts.
        value: of the flag.
    """

    flag: str
    value: int

    def __str__(self):
        return f"--{self.flag}={self.value}"

    @property
    def flags(self) -> dict[str, int]:
        """{flag name: value} that make a configuration as long as this."""
        return {"train_steps": 0, self.flag: self.value}


def training_length(flags: dict) -> Length:
    """How long the training of these flags {flag name: value} is."""
    flag = "train_steps" if flags["train_steps"] else "train_epochs"
    return Length(flag, flags[flag])


def total_steps(train: TrainConfig, num_images: int) -> int:
    """Steps of the whole training on `num_images` images an epoch."""
    steps = train.train_steps
    if not steps:
        epochs_in_steps = num_images * train.train_epochs // train.train_batch_size + 1
        steps = max(epochs_in_steps, train.min_steps)
    return steps * train.steps_factor


def check_not_shorter(length: Length, least: int, directory):
    """Checks that a run would not end before the step that it has reached.

    Args:
        length: how long it is to be.
        least: the least value of `length.flag` that is accepted.
        directory: of the run.

    Raises:
        UserError: it would.
    """
    if length.value < least:
        raise UserError(
            f"{length}: the run in {directory} is trained further than that already; give at least "
            f"--{length.flag}={least}, or another --model_dir"
        )
