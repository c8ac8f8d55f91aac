"""A training in one call of Python: `tf_simclr.train`."""

import os

from absl import flags as absl_flags
from etils import epath

from tf_simclr import config, console, report
from tf_simclr.commands import run as commands
from tf_simclr.config.planned_recipe import FOLDER
from tf_simclr.config.recipes import AUTO
from tf_simclr.config.registry import MODES
from tf_simclr.config.values import as_flag
from tf_simclr.errors import UserError


def train(
    images: str | os.PathLike,
    model_dir: str | os.PathLike,
    *,
    minutes: float,
    labels: str | os.PathLike | None,
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
        **flags,
    }
    _check_ends_with_a_model(said)
    if labels is not None:
        said["labels"] = os.fspath(labels)
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


def _check_ends_with_a_model(said):
    """What is loaded at the end is what an evaluation advises to use."""
    if config.coerce("plan", said.get("plan", False)):
        raise UserError(
            "plan=True: nothing is trained, and tf_simclr.train returns a trained model; leave it "
            "out, or print the plan with --plan of run.py"
        )
    accepted = [name for name, mode in MODES.items() if mode.evaluates]
    if said["mode"] not in accepted:
        raise UserError(
            f"mode={said['mode']}: nothing is evaluated, and tf_simclr.train returns the model "
            f"that an evaluation advises to use; give {' or '.join(accepted)}, or use run.py"
        )


def _dataset(images):
    """A folder by its path; the name of a data set as it is."""
    path = os.fspath(images)
    is_a_path = path.startswith((os.sep, ".", "~")) or path.endswith(os.sep)
    return f"{FOLDER}{path}" if is_a_path or os.path.isdir(path) else path
