"""Trains the stages of a finding, and reads their results."""

import pathlib

from absl import flags as absl_flags
from absl import logging
from etils import epath

from benchmarks.findings import grid
from benchmarks.findings.grid import Finding
from tf_simclr import console
from tf_simclr.commands import run as commands
from tf_simclr.commands.stages import Stages
from tf_simclr.config import Config
from tf_simclr.config.stages import CHECKPOINT_FLAGS
from tf_simclr.config.values import as_flag
from tf_simclr.errors import Diverged
from tf_simclr.runs import files as run_files

SEED_DIRECTORY = "seed_{}"  # in the folder of a finding: a chain of stages
DIVERGENCE_FILE = "diverged.txt"  # in the directory of a stage that has no result: why
DIVERGED_RESULT = {grid.DIVERGED: True, "train_minutes": 0}


def configure(
    name: str, finding: Finding, seed: int, folder: str, flags: list[str]
) -> list[Config]:
    """The configurations of all stages with a seed.

    Args:
        name: of the finding.
        finding: whose stages they are.
        seed: of the trainings and of the labels that are drawn.
        folder: of the finding.
        flags: further ones of run.py.

    Raises:
        UserError: flags that can't be.
    """
    stages = list(grid.stages(finding))
    arguments = [
        "benchmarks.findings",
        "--mode=train_then_eval",
        f"--config=findings/{name}",
        f"--train_mode={','.join(stage.name for stage in stages)}",
        f"--seed={seed}",
        f"--model_dir={folder}/{SEED_DIRECTORY.format(seed)}",
    ]
    for stage in stages:
        for flag, value in grid.stage_flags(finding, stage, folder).items():
            arguments.append(as_flag(f"{stage.name}.{flag}", value))
    return commands.parse([*arguments, *flags], absl_flags.FlagValues())


def train(configs: list[Config]):
    """Trains and measures the stages that are not finished.

    A stage that diverges, and those that start from it, are left out; the rest is trained.

    Raises:
        UserError: it can't be done, or was interrupted.
    """
    stages = Stages(configs)
    without_weights = set()  # directories of stages that are left out
    for number, settings in enumerate(configs):
        if not _finish(stages, number, without_weights):
            without_weights.add(settings.train.model_dir)
    stages.write_results()


def _finish(stages, number, without_weights):
    """Trains a stage unless it is finished. Returns whether it has weights to start from."""
    directory = stages.directories[number].path
    flags = stages.configs[number].flat()
    if without_weights & {flags[flag] for flag in CHECKPOINT_FLAGS}:
        logging.warning("stage %s has nothing to start from", directory.name)
        return False
    record = directory / DIVERGENCE_FILE
    if not record.exists() and not stages.skips(number):
        console.start_tensorflow()
        try:
            _train_stage(stages, number)
        except Diverged as error:
            directory.mkdir(parents=True, exist_ok=True)
            record.write_text(str(error), encoding="utf-8")
    if record.exists():
        logging.warning("stage %s diverged: %s", directory.name, record.read_text(encoding="utf-8"))
        return False
    return True


def _train_stage(stages, number):
    """What `run.py` does, but for the pages and exports, which take longer than such a training."""
    from tf_simclr.commands import evaluate
    from tf_simclr.training import loop
    from tf_simclr.training.experiment import build_experiment

    experiment = build_experiment(
        stages.configs[number],
        related=stages.directories_before(number),
        alone=False,
        on_commit=stages.commit,
    )
    with experiment.metrics_log:
        loop.fit(experiment, stages.describe(number))
        measurement = evaluate.measure(experiment)
        evaluate.mark_finished(experiment, measurement)


def read_results(finding: Finding, folder: str, seed: int) -> dict[str, dict]:
    """{name of a stage: content of its `result.json`} of the stages that were measured.

    Of a stage that diverged, or that starts from such a one, it is `DIVERGED_RESULT`.
    """
    directory = epath.Path(folder) / SEED_DIRECTORY.format(seed)
    results = {}
    for stage in grid.stages(finding):
        result = run_files.read_json(directory / stage.name / run_files.RESULT)
        # It may have a result of a shorter training, before it went on and diverged.
        if _has_diverged(finding, stage, directory, results):
            result = DIVERGED_RESULT
        if result is not None:
            results[stage.name] = result
    return results


def _has_diverged(finding, stage, directory, results):
    """Whether a stage or one that it starts from diverged. results: of the stages before it."""
    if (directory / stage.name / DIVERGENCE_FILE).exists():
        return True
    flags = grid.stage_flags(finding, stage, str(directory.parent))
    starts = [flags[flag] for flag in CHECKPOINT_FLAGS if flag in flags]
    return any(results.get(start) is DIVERGED_RESULT for start in starts)


def seeds_of(folder: str) -> list[int]:
    """The seeds of which there are runs."""
    pattern = SEED_DIRECTORY.format("*")
    prefix = SEED_DIRECTORY.format("")
    paths = pathlib.Path(folder).glob(pattern)
    return sorted(int(path.name.removeprefix(prefix)) for path in paths)
