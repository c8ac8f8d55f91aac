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
DIVERGED = "diverged.txt"  # in the directory of a stage that has no result: why
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

    The rest is trained without a stage that diverges and those that start from it.

    Raises:
        UserError: it can't be done, or was interrupted.
    """
    stages = Stages(configs)
    for number, settings in enumerate(configs):
        divergence = _past_divergence(settings)
        if divergence is None and not stages.skips(number):
            console.start_tensorflow()
            divergence = _train_unless_it_diverges(stages, number)
        if divergence is not None:
            _write_divergence(epath.Path(settings.train.model_dir), divergence)
    stages.write_results()


def _past_divergence(settings):
    """What the stage, or one that it starts from, diverged with; None if none did."""
    flags = settings.flat()
    for path in (settings.train.model_dir, *(flags[flag] for flag in CHECKPOINT_FLAGS)):
        if path and (epath.Path(path) / DIVERGED).exists():
            return (epath.Path(path) / DIVERGED).read_text()
    return None


def _train_unless_it_diverges(stages, number):
    """Returns the message of a training that diverges, else None."""
    try:
        _train_stage(stages, number)
    except Diverged as error:
        return str(error)
    return None


def _write_divergence(directory, message):
    logging.warning("stage %s has no result: %s", directory.name, message)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / DIVERGED).write_text(message)


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

    Of a stage that diverged it is `DIVERGED_RESULT`.
    """
    directory = epath.Path(folder) / SEED_DIRECTORY.format(seed)
    results = {}
    for stage in grid.stages(finding):
        result = run_files.read_json(directory / stage.name / run_files.RESULT)
        if (directory / stage.name / DIVERGED).exists():
            result = DIVERGED_RESULT
        if result is not None:
            results[stage.name] = result
    return results


def seeds_of(folder: str) -> list[int]:
    """The seeds of which there are runs."""
    pattern = SEED_DIRECTORY.format("*")
    prefix = SEED_DIRECTORY.format("")
    paths = pathlib.Path(folder).glob(pattern)
    return sorted(int(path.name.removeprefix(prefix)) for path in paths)
