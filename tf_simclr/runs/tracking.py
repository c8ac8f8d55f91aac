"""The metrics of a run in MLflow or Weights & Biases, if --track names them. No TensorFlow.

Neither is a requirement. Where they send what they get, and how they log in, is their own
configuration (MLFLOW_TRACKING_URI, WANDB_PROJECT, ...).
"""

import contextlib
import importlib.util
import os

from absl import logging

from tf_simclr.config import Config, values
from tf_simclr.errors import Interrupted, UserError, first_line
from tf_simclr.runs import files
from tf_simclr.runs.directory import RunDirectory


class MLflow:
    """One run of MLflow."""

    install = "mlflow-skinny"

    def start(self, name: str, run_id: str | None, flags: dict) -> str:
        """Begins a run with its parameters, or goes on with one.

        Args:
            name: of a new run.
            run_id: of the run to go on with; None: a new one.
            flags: {name: value}.

        Returns:
            The id of the run.
        """
        # Seven times, its default, is minutes in which the training waits for a lost server.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        import mlflow

        self._mlflow = mlflow
        run = mlflow.start_run(run_id=run_id, run_name=None if run_id else name)
        if run_id is None:
            mlflow.log_params(flags)
        return run.info.run_id

    def write(self, step: int, scalars: dict[str, float]):
        """Sends {tag: value} of a step."""
        self._mlflow.log_metrics(scalars, step=step)

    def finish(self, error: type[BaseException] | None):
        """Ends the run; error: what has ended the work, if anything has."""
        status = "FAILED" if error else "FINISHED"
        if error and issubclass(error, (Interrupted, KeyboardInterrupt)):
            status = "KILLED"
        self._mlflow.end_run(status)


class WandB:
    """One run of Weights & Biases; the methods are those of `MLflow`."""

    install = "wandb"

    def start(self, name: str, run_id: str | None, flags: dict) -> str:
        import wandb

        if run_id is None:
            self._run = wandb.init(name=name, config=flags)
        else:
            self._run = wandb.init(id=run_id, resume="allow")
        # Its own counter only rises, and a resumed training goes back to its checkpoint.
        self._run.define_metric("*", step_metric="global_step")
        return self._run.id

    def write(self, step: int, scalars: dict[str, float]):
        self._run.log({**scalars, "global_step": step})

    def finish(self, error: type[BaseException] | None):
        self._run.finish(exit_code=1 if error else 0)


TRACKERS = {"mlflow": MLflow, "wandb": WandB}  # by the name of their package


def require(names: tuple[str, ...]):
    """Checks that some trackers are installed.

    Raises:
        UserError: one is not.
    """
    missing = [name for name in names if not _is_installed(name)]
    if missing:
        packages = " ".join(TRACKERS[name].install for name in missing)
        raise UserError(
            f"--track={','.join(names)}: {' and '.join(missing)} not installed; "
            f"pip install {packages}"
        )


def _is_installed(package):
    """A folder ./wandb of its files, which Python takes for a package, has no origin."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


class Tracking:
    """A run in the trackers of --track, begun at its first metrics.

    A tracker that fails is left alone until the next start; the training goes on.

    Args:
        directory: of the run; keeps its ids, so that another start goes on with the same runs.
        settings: the whole configuration.
    """

    def __init__(self, directory: RunDirectory, settings: Config):
        self._directory = directory
        self._settings = settings
        self._trackers = None  # {name: tracker that was started}

    def write(self, step: int, scalars: dict[str, float]):
        """Sends {tag: value} of a step."""
        if self._trackers is None:
            self._trackers = {}
            for name in self._settings.train.track:
                self._start(name)
        for name, tracker in list(self._trackers.items()):
            try:
                tracker.write(step, scalars)
            except Exception as error:  # of any kind: a lost server, a full disk of its own
                self._give_up(name, error)

    def _start(self, name):
        run_ids = self._directory.read(files.TRACKING) or {}
        tracker = TRACKERS[name]()
        self._trackers[name] = tracker
        try:
            run_id = tracker.start(
                self._directory.path.resolve().name, run_ids.get(name), _flags(self._settings)
            )
        except Exception as error:
            self._give_up(name, error)
            return
        if run_id != run_ids.get(name):
            self._directory.write(files.TRACKING, {**run_ids, name: run_id})
        logging.info("--track=%s: the metrics go to its run %s", name, run_id)

    def _give_up(self, name, error):
        tracker = self._trackers.pop(name)
        logging.warning(
            "--track=%s: %s; it gets no more of this start, %s has everything",
            name,
            first_line(error).rstrip("."),
            self._directory.path / files.METRICS,
        )
        with contextlib.suppress(Exception):  # one warning is enough
            tracker.finish(type(error))

    def finish(self, error: type[BaseException] | None):
        """Ends the runs; error: what has ended the work, if anything has."""
        for name, tracker in list((self._trackers or {}).items()):
            try:
                tracker.finish(error)
            except Exception as failure:
                self._give_up(name, failure)
        self._trackers = None


def _flags(settings):
    """{flag: value}, a number or a text."""
    flags = {}
    for name, value in settings.resolved().items():
        is_number = isinstance(value, (bool, int, float))
        flags[name] = value if is_number else values.as_text(value)
    return flags
