"""A training in one call of Python: `tf_simclr.train`."""

import os

from absl import flags as absl_flags
from etils import epath

from tf_simclr import console, report
from tf_simclr.commands import run as commands
from tf_simclr.config.planned_recipe import FOLDER
from tf_simclr.config.recipes import AUTO
from tf_simclr.config.values import as_flag


def train(
    images: str | os.PathLike,
    model_dir: str | os.PathLike,
    *,
    minutes: float,
    labels: str | os.PathLike,
    flags: dict,
) -> epath.Path:
    """Plans, trains, evaluates and exports, as `tf_simclr.train` says.

    Returns:
        The directory of the run whose weights the report advises to use.

    Raises:
        UserError: what is given can't be trained on.
    """
    console.set_up_logging()
    said = {
        "mode": "train_then_eval",
        "dataset": _dataset(images),
        "model_dir": os.fspath(model_dir),
        "budget": f"{round(60 * minutes)}s",
        "labels": os.fspath(labels),
        **flags,
    }
    if "config" not in flags:
        said["config"] = AUTO
    arguments = ["tf_simclr.train", *(as_flag(name, value) for name, value in said.items())]
    configs = commands.parse(arguments, absl_flags.FlagValues())
    console.start_tensorflow()  # `tf_simclr.load` needs it, too
    from tf_simclr.models.layers import float32_policy

    with float32_policy():  # which puts back the policy of before, whatever --precision has set
        commands.run(configs)
    directories = [epath.Path(settings.train.model_dir) for settings in configs]
    return report.advised(directories) or directories[-1]


def _dataset(images):
    """A folder by its path; the name of a data set as it is."""
    path = os.fspath(images)
    return f"{FOLDER}{path}" if os.path.isdir(path) else path
