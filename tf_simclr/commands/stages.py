"""The stages of a chain on disk: which are finished, the table and the report of all of them. No TensorFlow here."""

from absl import logging
from etils import epath

from tf_simclr import config, report
from tf_simclr.config.rules import head_layers
from tf_simclr.config.stages import (
    BEST_DIRECTORY,
    CHECKPOINT_FLAGS,
    CHECKPOINT_FORMS,
    combined_flags,
    stage_names,
)
from tf_simclr.errors import UserError
from tf_simclr.report import schema
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.runs.files import RESULT, read_json


class Stages:
    """The run directories of the configurations `built`; with one alone there is nothing to do.

    Raises:
        UserError: one of them, or the directory that holds them, has a run with another configuration.
    """

    def __init__(self, built):
        self.built = built
        self.directories = [RunDirectory(settings.train.model_dir, settings) for settings in built]
        self.root = RunDirectory(self.directories[0].path.parent) if len(built) > 1 else None
        saved = self.root.read(run_files.CONFIG) if self.root else None
        if saved is not None and "," not in saved.get("train_mode", ""):
            raise UserError(
                f"--model_dir={self.root.path}: it holds a single run, not stages; give another --model_dir"
            )
        for number, settings in enumerate(built):
            self._check_starts(settings, number)

    def _check_starts(self, settings, number):
        """What a stage that has not begun starts from has to be there, or to be made by a stage before it."""
        for flag in CHECKPOINT_FLAGS:
            path = settings.flat()[flag]
            if (
                not path
                or self.directories[number].exists
                or path.removesuffix(f"/{BEST_DIRECTORY}")
                in [before.train.model_dir for before in self.built[:number]]
            ):
                continue
            if not (epath.Path(path).exists() or epath.Path(f"{path}.index").exists()):
                raise UserError(
                    f"--{flag}={path}: no such file or directory; give {CHECKPOINT_FORMS}"
                )
        if (
            settings.objective.checkpoint
            and settings.train.mode.startswith("train")
            and not self.directories[number].exists
        ):
            self._check_head(settings, number)

    def _check_head(self, settings, number):
        """A stage can't start with more layers of the projection head than the one that it starts from has."""
        path = settings.objective.checkpoint
        before = [
            stage.flat()
            for stage in self.built[:number]
            if stage.train.model_dir == path.removesuffix(f"/{BEST_DIRECTORY}")
        ]
        saved = before[0] if before else read_json(epath.Path(path) / run_files.CONFIG)
        if (
            not saved or "," in saved["train_mode"]
        ):  # weights alone, or a directory of several runs: others say what is wrong with them
            return
        saved = {**config.Config().flat(), **saved}
        needed, there = head_layers(settings.flat()), head_layers(saved)
        if needed > there:
            raise UserError(
                f"--checkpoint={path}: its projection head has {there} layers (--pretext={saved['pretext']}) and {needed} are needed here; "
                f"give --ft_proj_selector={there}, or start from another run"
            )

    def skips(self, number):
        """Whether a stage is finished: trained to its last step, evaluated and exported. Says which one begins, otherwise."""
        if not self.root:
            return False
        if self.built[number].train.mode == "train_then_eval" and self._is_finished(number):
            logging.info("stage %s is finished", self._name(number))
            return True
        logging.info("stage %s, %d of %d", self._name(number), number + 1, len(self.built))
        return False

    def before(self, number):
        """The run directories of the stages before a stage."""
        return [directory.path for directory in self.directories[:number]]

    def commit(self):
        """Writes down what the stages are, unless that would lose some that ran here before."""
        if self.root:
            known = (self.root.read(run_files.CONFIG) or {"train_mode": ""})["train_mode"].split(
                ","
            )
            if {*known} - {""} <= {directory.path.name for directory in self.directories}:
                self.root.write(run_files.CONFIG, combined_flags(self.built))

    def report(self):
        """Prints the table of the stages, writes it as JSON, and the page of all of them."""
        results = {
            self._name(number): directory.read(RESULT)
            for number, directory in enumerate(self.directories)
        }
        results = {name: result for name, result in results.items() if result}
        if self.root and results:
            self.root.write(RESULT, {**(self.root.read(RESULT) or {}), **results})
            logging.info("%s\n\n%s\n", self.root.path, report.stages_table(results))
            if self._evaluated():  # those of version 0.1.0 have nothing to show
                self.show()

    def show(self):
        """Writes the page of `report_runs`, or else of those stages that are evaluated, or of the run.

        Raises:
            UserError: one of them was not evaluated.
        """
        root, others = self.root or self.directories[0], self.built[0].report.report_runs
        if others and (root.path / run_files.RESULTS).exists():
            raise UserError(
                f"--model_dir={root.path}: it is a run with a report of its own; give a new one for the report of --report_runs"
            )
        shown = (
            [place for path in others for place in _runs_of(epath.Path(path))]
            or self._evaluated()
            or [root.path]
        )
        for path in shown:
            schema.read(path)  # what is wrong with it should show before anything is written
        root.create()
        report.write(shown, root.path / run_files.REPORT)
        logging.info("report: %s", root.path / run_files.REPORT)

    def _evaluated(self):
        return [
            directory.path
            for directory in self.directories
            if (directory.path / run_files.RESULTS).exists()
        ]

    def _name(self, number):
        return self.directories[number].path.name

    def _is_finished(self, number):
        result = self.directories[number].read(RESULT)
        return (
            result is not None
            and result["global_step"] == result.get("total_steps")
            and result.get("evaluated_with") == self.built[number].evaluation_flags
        )


def _runs_of(path):
    """The run directories that a run directory stands for: those of the stages, if it is a chain's."""
    train_mode = (read_json(path / run_files.CONFIG) or {}).get("train_mode", "")
    return [path / stage for stage in stage_names(train_mode)] if "," in train_mode else [path]
