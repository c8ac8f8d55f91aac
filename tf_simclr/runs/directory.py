"""The run directory: whose configuration it holds, who trains in it, its small files."""

import json
import time

from absl import logging
from etils import epath

from tf_simclr.config import stages as chain, command_line as flags
from tf_simclr import errors as failures
from tf_simclr.runs import files
from tf_simclr.config import config as config_lib
from tf_simclr.config.config import UserError

LOCK = "training.lock"
LOCK_ATTEMPTS, SECONDS_BETWEEN_ATTEMPTS = 20, 0.05


class RunDirectory:
    """`model_dir` of a run; local, or in a bucket (gs://...).

    Args:
        settings: the run's configuration; None for the directory that holds those of a chain's stages.

    Raises:
        UserError: it holds a run with another configuration.
    """

    def __init__(self, path, settings=None):
        self.path = epath.Path(path)
        self._settings = settings
        self._lock = None
        try:
            if self.path.exists() and not self.path.is_dir():
                raise UserError(f"--model_dir={self.path}: it is a file; give a directory")
            self.exists = (self.path / flags.SAVED).exists()
        except (OSError, ValueError) as error:
            raise UserError(f"--model_dir={self.path}: it can't be read ({getattr(error, 'strerror', None) or error})") from None
        if self.exists and settings is not None:
            self._check_same()

    def _check_same(self):
        fixed = {name for name, field in config_lib.fields().items() if field.fixed}
        saved, mine = _with_siblings(flags.read(self.path / flags.SAVED)), _with_siblings(self._settings.flat())
        saved = {name: saved.get(name, field.default) for name, field in config_lib.fields().items()}  # flags that came after the run have had their defaults
        theirs = {name: config_lib.coerce(name, value) for name, value in saved.items() if name in fixed}
        different = [f"{name} is {theirs[name]} there, {mine[name]} here" for name in sorted(theirs) if theirs[name] != mine[name]]
        if different:
            raise UserError(f"--model_dir={self.path}: it holds a run with another configuration ({'; '.join(different)}); "
                            "give another --model_dir, or the same flags to go on with that run")

    def commit(self):
        """Makes the locked directory this configuration's own."""
        self.write(flags.SAVED, self._settings.flat())
        self.exists = True

    def read(self, name):
        """The content of a JSON file of the directory, or None."""
        return read_json(self.path / name)

    def write(self, name, content, indent=2):
        """Writes `content` as a JSON file, whole or not at all."""
        try:
            files.write_text(self.path / name, json.dumps(content, indent=indent) + "\n")
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error):
        return failures.unwritable(f"--model_dir={self.path}: it can't be written to ({getattr(error, 'strerror', None) or error})", error)

    def create(self):
        """Makes the directory where there is none."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from None

    def lock(self):
        """Makes the directory and keeps other processes on this machine from training in it, until this one ends.

        Raises:
            UserError: another process does, or the directory holds another configuration by now, or can't be written to.
        """
        self.create()
        try:
            for _ in range(LOCK_ATTEMPTS):  # `in_training` of another process holds the lock for an instant
                self._lock = _try_lock(self.path / LOCK)
                if self._lock is not None:
                    break
                time.sleep(SECONDS_BETWEEN_ATTEMPTS)
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from None
        if self._lock is None:
            raise UserError(f"--model_dir={self.path}: another process is training there; wait for it or give another --model_dir")
        self.exists = (self.path / flags.SAVED).exists()
        if self.exists:  # what another process has started here since this one looked
            self._check_same()

    def in_training(self):
        """Whether a process on this machine holds the lock."""
        if not (self.path / LOCK).exists():
            return False
        lock = _try_lock(self.path / LOCK)
        return lock is None


def _with_siblings(values):
    """The flags, with paths to runs beside this one that do not depend on where the two are: a chain may be moved."""
    return {**values, **{name: f"../{run}" for name, run in chain.siblings(values).items()}}


def read_json(path):
    """The content of a JSON file at an `epath.Path`, None where there is none."""
    try:
        return json.loads(path.read_text()) if path.exists() else None
    except NotADirectoryError:  # the file would be in a file
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: it can't be read ({error}); repair it, or give another --model_dir") from None


def _try_lock(path):
    """The open file that holds the lock, None if another process has it. The system frees it when a process dies."""
    try:
        import fcntl
    except ImportError:
        logging.info("no file locks on this system: two processes in one run directory are not noticed")
        return True
    if "://" in str(path):
        return True  # buckets have no locks
    file = open(path, "a")  # noqa: SIM115  it stays open as long as the lock is held
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file
    except BlockingIOError:
        file.close()
        return None
    except OSError:  # a file system without locks
        file.close()
        return True
