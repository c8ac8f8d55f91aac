"""The stages of a chain on disk: which are finished, their table and their report.

No TensorFlow here.
"""

from absl import logging
from etils import epath

from tf_simclr import config, console, report
from tf_simclr.commands import finished_stages, start_weights
from tf_simclr.config import Config, original_release
from tf_simclr.config.backbones import is_published
from tf_simclr.config.length import check_not_shorter, training_length
from tf_simclr.config.rules import head_layers
from tf_simclr.config.stage_directories import combined_flags
from tf_simclr.config.stages import CHECKPOINT_FLAGS, stage_names
from tf_simclr.errors import UserError
from tf_simclr.report import schema, templates
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory


class Stages:
    """The run directories of some configurations, a stage each; a single one is a run by itself.

    Args:
        configs: of the stages, in order.

    Attributes:
        configs: of the stages.
        directories: `RunDirectory` of each stage.
        root: the `RunDirectory` that holds those of the stages; None for a single run.

    Raises:
        UserError: one of the directories holds a run with another configuration, or a stage has
            nothing to start from.
    """

    def __init__(self, configs: list[Config]):
        self.configs = configs
        self.directories = [
            RunDirectory(settings.train.model_dir, settings) for settings in configs
        ]
        self.root = None
        if len(configs) > 1:
            self.root = RunDirectory(self.directories[0].path.parent)
            self._check_root()
        for number, settings in enumerate(configs):
            self._check_start(settings, number)
            self._check_length(number)

    def _check_root(self):
        saved = self.root.read(run_files.CONFIG)
        if saved is not None and not _is_chain(saved):
            raise UserError(
                f"--model_dir={self.root.path}: it holds a single run, not stages; "
                "give another --model_dir"
            )

    def _check_start(self, settings, number):
        """What a new stage starts from has to exist, or to be made by a stage before it."""
        if self.directories[number].exists:
            return
        for flag in CHECKPOINT_FLAGS:
            path = settings.flat()[flag]
            is_elsewhere = path and self._stage_at(path, number) is None
            if is_elsewhere and not is_published(path):
                start_weights.require(flag, path, settings.train.offline)
            if path and not is_elsewhere and settings.mode.trains:
                self._check_best(flag, path, number)
        if settings.objective.checkpoint and settings.mode.trains:
            self._check_head(settings, number)

    def _check_best(self, flag, path, number):
        """A stage keeps its best weights only where it looks for them."""
        stage = self._stage_at(path, number)
        is_best = path.endswith(f"/{run_files.BEST}")
        if is_best and not stage.eval.eval_every_epochs:
            name = epath.Path(stage.train.model_dir).name
            raise UserError(
                f"--{flag}={path}: stage {name} keeps no best weights with "
                f"--{name}.eval_every_epochs=0; give --{self._name(number)}.{flag}={name}, or in a "
                f"new --model_dir e.g. --{name}.eval_every_epochs=1"
            )

    def _check_length(self, number):
        """A finished stage can't become shorter; the training finds out about unfinished ones."""
        directory = self.directories[number]
        saved = directory.other_length()
        result = directory.read(run_files.RESULT)
        if not directory.path.exists() and self.configs[number].mode.trains:
            self._warn_of_later_stages(number, "is trained anew")
        if saved is None:
            return
        self._warn_of_later_stages(number, "goes on")
        length = training_length(self.configs[number].flat())
        if result is None:
            return
        if length.flag == "train_steps":
            factor = self.configs[number].train.steps_factor
            check_not_shorter(length, -(-result["global_step"] // factor), directory.path)
        elif length.flag == saved.flag and finished_stages.is_trained(result):
            check_not_shorter(length, saved.value, directory.path)

    def _warn_of_later_stages(self, number, what_happens):
        """Stages that started from weights of a stage do not start anew when these change."""
        for later in range(number + 1, len(self.configs)):
            flags = self.configs[later].flat()
            starts = [flags[flag].removesuffix(f"/{run_files.BEST}") for flag in CHECKPOINT_FLAGS]
            if self.directories[later].exists and self.configs[number].train.model_dir in starts:
                logging.warning(
                    "stage %s %s, and stage %s keeps what it has learned from its earlier "
                    "weights; under a new name such as %s-longer it starts from the new ones",
                    self._name(number),
                    what_happens,
                    self._name(later),
                    flags["train_mode"],
                )

    def _stage_at(self, path, number):
        """The configuration of the stage before stage `number` whose directory is at `path`."""
        directory = path.removesuffix(f"/{run_files.BEST}")
        for settings in self.configs[:number]:
            if settings.train.model_dir == directory:
                return settings
        return None

    def _check_head(self, settings, number):
        """A stage can't have more layers of the projection head than what it starts from."""
        path = settings.objective.checkpoint
        stage = self._stage_at(path, number)
        if stage is not None:
            flags = stage.flat()
        else:
            saved = run_files.read_json(epath.Path(path) / run_files.CONFIG)
            if not saved or _is_chain(saved) or original_release.is_its(saved):
                return  # what is wrong with these shows where they are loaded
            flags = config.completed(saved)
        num_needed = head_layers(settings.flat())
        num_saved = head_layers(flags)
        if num_needed > num_saved:
            way_out = f"give --ft_proj_selector={num_saved}, or start from another run"
            if settings.objective.train_mode == "pretrain":
                way_out = "start from another run"
            raise UserError(
                f"--checkpoint={path}: its projection head has {num_saved} layers "
                f"(--pretext={flags['pretext']}) and {num_needed} are needed here; {way_out}"
            )

    def describe(self, number: int) -> str:
        """What the progress of the training of a stage is called."""
        if self.root is None:
            return "training"
        return f"{number + 1}/{len(self.configs)} {self._name(number)}"

    def skips(self, number: int) -> bool:
        """Whether a stage is finished; the log says so, or which stage begins."""
        if self.root is None:
            return False
        name = self._name(number)
        mode = self.configs[number].mode
        directory, settings = self.directories[number], self.configs[number]
        if mode.trains and mode.evaluates and finished_stages.is_finished(directory, settings):
            logging.info("stage %s is finished", name)
            finished_stages.warn_of_new_labels(directory, settings)
            finished_stages.warn_of_new_images(directory, settings)
            return True
        logging.info("stage %s, %d of %d", name, number + 1, len(self.configs))
        return False

    def directories_before(self, number: int) -> list[epath.Path]:
        """The run directories of the stages before a stage."""
        return [directory.path for directory in self.directories[:number]]

    def commit(self):
        """Writes down what the stages are, unless that would lose stages that ran before."""
        if self.root is None:
            return
        saved = self.root.read(run_files.CONFIG) or {"train_mode": ""}
        saved_names = set(saved["train_mode"].split(",")) - {""}
        names = {directory.path.name for directory in self.directories}
        if saved_names <= names:
            self.root.write(run_files.CONFIG, combined_flags(self.configs))

    def write_results(self):
        """Prints and writes the table of a chain and the verdict; writes the report of all.

        A report that is newer than all results stays, as does its verdict.
        """
        if self.root is None:
            return
        results = {}
        for number, directory in enumerate(self.directories):
            result = directory.read(run_files.RESULT)
            if result:
                results[self._name(number)] = result
        if not results:
            return
        saved = self.root.read(run_files.RESULT) or {}
        self.root.write(run_files.RESULT, {**saved, **results})
        logging.info("%s\n\n%s\n", self.root.path, report.stages_table(results))
        if saved.keys() == results.keys() and self._is_reported():
            self._log_verdict()
            logging.info("report: %s", self.root.path / run_files.REPORT)
        elif self._evaluated():  # runs of early versions have no results.json
            self._write_verdict()
            self._log_verdict()
            self.write_report()

    def _is_reported(self):
        """Whether the report of the chain is newer than the results of all its stages."""
        page = self.root.path / run_files.REPORT
        results = [directory / run_files.RESULTS for directory in self._evaluated()]
        if not results or not page.exists():
            return False
        return page.stat().mtime > max(path.stat().mtime for path in results)

    def _write_verdict(self):
        text = report.verdict_text(self._evaluated())
        path = self.root.path / run_files.VERDICT
        if text is None:
            path.unlink(missing_ok=True)  # of an earlier evaluation
        else:
            templates.write(path, f"{text}\n", "the verdict")

    def _log_verdict(self):
        path = self.root.path / run_files.VERDICT
        if path.exists():
            text = path.read_text(encoding="utf-8").rstrip("\n")
            logging.info("verdict:\n%s", console.wrapped(text))

    def write_report(self):
        """Writes the page of `report_runs`, or else of the evaluated stages, or of the run.

        Raises:
            UserError: one of them was not evaluated.
        """
        root = self.root or self.directories[0]
        report_runs = self.configs[0].report.report_runs
        if report_runs and (root.path / run_files.RESULTS).exists():
            raise UserError(
                f"--model_dir={root.path}: it is a run with a report of its own; "
                "give a new one for the report of --report_runs"
            )
        directories = []
        for path in report_runs:
            directories += _run_directories(epath.Path(path))
        directories = directories or self._evaluated() or [root.path]
        for directory in directories:
            schema.read(directory)  # what is wrong should show before anything is written
        root.create()
        report.write(directories, root.path / run_files.REPORT)
        logging.info("report: %s", root.path / run_files.REPORT)

    def _evaluated(self):
        """The directories of the stages that have results to report."""
        return [
            directory.path
            for directory in self.directories
            if (directory.path / run_files.RESULTS).exists()
        ]

    def _name(self, number):
        return self.directories[number].path.name


def _is_chain(flags):
    """Whether saved flags are those of several stages."""
    return "," in flags.get("train_mode", "")


def _run_directories(path):
    """The run directories that a path stands for: of a chain, those of its evaluated stages."""
    saved = run_files.read_json(path / run_files.CONFIG) or {}
    if not _is_chain(saved):
        return [path]
    stages = [path / stage for stage in stage_names(saved["train_mode"])]
    evaluated = [stage for stage in stages if (stage / run_files.RESULTS).exists()]
    if not evaluated:
        return stages  # reading the first one says what is missing
    for stage in stages:
        if stage not in evaluated:
            logging.warning("%s: it is not in the report, since it was not evaluated yet", stage)
    return evaluated
