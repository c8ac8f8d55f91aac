"""Whether there are the weights that a stage starts from. No TensorFlow here."""

from etils import epath

from tf_simclr.checkpoints.published_weights import local_path
from tf_simclr.config.registry import foreign_weights
from tf_simclr.config.stages import CHECKPOINT_FORMS
from tf_simclr.errors import UserError
from tf_simclr.runs import files as run_files


def require(flag: str, path: str, offline: bool):
    """Checks that weights exist and are of a kind that can be read.

    Args:
        flag: whose value they are.
        path: of the weights.
        offline: whether published models are taken from the cache alone.

    Raises:
        UserError: they do not, or are not.
    """
    path = local_path(path, flag, offline)
    reason = None
    if not _exists(path):
        reason = "no such file or directory"
    elif foreign_weights(path) and not epath.Path(path).is_dir():
        reason = f"it is {foreign_weights(path)}, which is not read"
    if reason:
        raise UserError(f"--{flag}={path}: {reason}; give {CHECKPOINT_FORMS}")


def _exists(path):
    """Whether there is a file, a directory, or a checkpoint with this prefix."""
    index = f"{path}{run_files.CHECKPOINT_INDEX}"
    return epath.Path(path).exists() or epath.Path(index).exists()
