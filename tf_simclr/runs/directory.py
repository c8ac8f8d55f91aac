"""The run directory: whose configuration it holds, who trains in it, its small files."""

import json
import time

from etils import epath

from tf_simclr import config
from tf_simclr.config import Config, automatic, recipes
from tf_simclr.config.label_tables import NO_LABELS
from tf_simclr.config.length import LENGTH_FLAGS, Length, training_length
from tf_simclr.config.stage_directories import sibling_runs
from tf_simclr.errors import UserError, write_error
from tf_simclr.runs import files
from tf_simclr.runs.locks import is_locked, try_lock

LOCK_ATTEMPTS = 20
SECONDS_BETWEEN_ATTEMPTS = 0.05


class RunDirectory:
    """`model_dir` of a run; local, or in a bucket (gs://...).

    Args:
        path: the directory, which need not exist.
        settings: the run's configuration; None for the directory that holds the stages of a chain.

    Attributes:
        path: `epath.Path`.
        exists: whether there is a run in it.

    Raises:
        UserError: it holds a run with another configuration.
    """

    def __init__(self, path: str | epath.Path, settings: Config | None = None):
        self.path = epath.Path(path)
        self._settings = settings
        self._lock = None
        try:
            if self.path.exists() and not self.path.is_dir():
                raise UserError(f"--model_dir={self.path}: it is a file; give a directory")
            self.exists = (self.path / files.CONFIG).exists()
        except (OSError, ValueError) as error:
            reason = _reason(error)
            raise UserError(f"--model_dir={self.path}: it can't be read ({reason})") from None
        if self.exists and settings is not None:
            self._check_same_configuration()

    def _check_same_configuration(self):
        saved = _with_relative_siblings(self._saved_flags())
        current = _with_relative_siblings(self._settings.resolved())
        differences = {}
        for name, field in sorted(config.fields().items()):
            if field.fixed and not config.is_same(name, saved[name], current[name]):
                differences[name] = f"{name} is {saved[name]} there, {current[name]} here"
        is_longer_or_shorter = self._settings.mode.trains and set(differences) <= set(LENGTH_FLAGS)
        if differences and not is_longer_or_shorter:
            raise UserError(
                f"--model_dir={self.path}: it holds a run with another configuration "
                f"({'; '.join(differences.values())}); {self._way_out(differences)}"
            )

    def _saved_flags(self):
        """All flags of the run that is there; of a chain those that its stages share."""
        saved = config.completed(recipes.read(self.path / files.CONFIG))
        flags = {
            name: config.coerce(name, saved.get(name, field.before))
            for name, field in config.fields().items()
        }
        return automatic.resolve(flags)

    def _way_out(self, names):
        """What to do where the flags `names` are others than those of the run that is there."""
        resume = "the same flags to resume that run"
        sections = {config.fields()[name].section for name in names}
        has_weights = (self.path / files.CHECKPOINT_LIST).exists()
        # Another network could not start from these weights.
        if not has_weights or "model" in sections or not self._settings.mode.trains:
            return f"give another --model_dir, or {resume}"
        has_other_labels = "labels" in names and self._settings.data.labels != NO_LABELS
        start = self.flags_of_another(has_other_labels)
        return f"give {resume}, or start another one from its weights with {start}"

    def flags_of_another(self, has_other_labels: bool = False) -> str:
        """The flags that start another run from the weights of the one that is there.

        Args:
            has_other_labels: whether what is to be learned are labels that the run did not have.
        """
        train_mode = self._settings.objective.train_mode
        if has_other_labels:
            train_mode = "finetune,distill"
        elif train_mode == "supervised":  # which starts from random weights
            train_mode = "finetune"
        return f"--train_mode={train_mode} --checkpoint={self.path} --model_dir=NEW"

    def other_length(self) -> Length | None:
        """How long the training of the run that is there was to be; None if as long as now."""
        if not self.exists:
            return None
        saved = config.completed(recipes.read(self.path / files.CONFIG))
        length = training_length(saved)
        return None if length == training_length(self._settings.flat()) else length

    def commit(self):
        """Makes the locked directory this configuration's own."""
        self.write(files.CONFIG, self._settings.resolved())
        self.exists = True

    def read(self, name: str):
        """The content of a JSON file of the directory; None if there is no such file."""
        return files.read_json(self.path / name)

    def write(self, name: str, content, indent: int | None = 2):
        """Writes `content` as a JSON file, whole or not at all.

        Raises:
            UserError: the directory can't be written to.
        """
        self.write_text(name, json.dumps(content, indent=indent) + "\n")

    def write_text(self, name: str, text: str):
        """Writes a file, whole or not at all.

        Raises:
            UserError: the directory can't be written to.
        """
        self._write(files.write_text, name, text)

    def append_text(self, name: str, text: str):
        """Adds whole lines to the end of a file.

        Raises:
            UserError: the directory can't be written to.
        """
        self._write(files.append_text, name, text)

    def _write(self, write, name, text):
        try:
            write(self.path / name, text)
        except OSError as error:
            raise self._write_error(error) from None

    def _write_error(self, error):
        message = f"--model_dir={self.path}: it can't be written to ({_reason(error)})"
        return write_error(message, error)

    def create(self):
        """Makes the directory where there is none.

        Raises:
            UserError: it can't be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise self._write_error(error) from None

    def lock(self):
        """Makes the directory and keeps other processes of this machine from training in it.

        The lock is held until `unlock`, or until this process ends.

        Raises:
            UserError: another process trains there, or the directory holds another configuration
                by now, or can't be written to.
        """
        self.create()
        try:
            self._lock = self._wait_for_lock()
        except (OSError, ValueError) as error:
            raise self._write_error(error) from None
        if self._lock is None:
            raise UserError(
                f"--model_dir={self.path}: another process is training there; "
                "wait for it or give another --model_dir"
            )
        self.exists = (self.path / files.CONFIG).exists()
        if self.exists:  # another process may have started a run since this one looked
            self._check_same_configuration()

    def unlock(self):
        """Lets other processes, and other runs of this one, train in the directory again."""
        has_file = self._lock not in (None, True)  # True: there are no locks
        if has_file:
            self._lock.close()
        self._lock = None

    def _wait_for_lock(self):
        """The lock, None if another process keeps it; `in_training` holds it for an instant."""
        for _ in range(LOCK_ATTEMPTS):
            lock = try_lock(self.path / files.LOCK)
            if lock is not None:
                return lock
            time.sleep(SECONDS_BETWEEN_ATTEMPTS)
        return None

    def in_training(self) -> bool:
        """Whether a process on this machine holds the lock."""
        return is_locked(self.path / files.LOCK)


def _reason(error):
    return getattr(error, "strerror", None) or error


def _with_relative_siblings(flags):
    """The flags, where runs beside this one do not depend on where both are.

    So a directory with several stages may be moved.
    """
    return {**flags, **{name: f"../{run}" for name, run in sibling_runs(flags).items()}}
