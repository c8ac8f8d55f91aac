"""What earlier runs have saved that a run has to use again: labels, divisions, what is held out."""

from etils import epath

from tf_simclr.config import Config
from tf_simclr.config.values import same_data_set
from tf_simclr.data import label_subset
from tf_simclr.runs import files as run_files
from tf_simclr.training.prior_labels import HELD_OUT_BY


def earlier_directories(
    settings: Config, directory: epath.Path, related: list[epath.Path]
) -> list[epath.Path]:
    """Where runs have saved what this one has to use again.

    Args:
        settings: the whole configuration.
        directory: of the run itself, which comes first.
        related: of stages before.
    """
    return [directory, *related, *directories_of_starts([settings])]


def directories_of_starts(stages: list[Config]) -> list[epath.Path]:
    """The directories of what stages start from and learn from.

    Args:
        stages: their configurations.
    """
    directories = []
    for stage in stages:
        for path in (stage.objective.checkpoint, stage.objective.teacher_checkpoint):
            if path:
                path = epath.Path(path)
                directories.append(path if path.is_dir() else path.parent)
    return directories


def saved_by_runs(name: str, directories: list[epath.Path]) -> list:
    """The contents of a JSON file of runs, of those that have it."""
    contents = [run_files.read_json(path / name) for path in directories]
    return [content for content in contents if content]


def saved_division(dataset: str, directories: list[epath.Path]) -> dict[str, bool] | None:
    """Which images a run held out, or did not, for the sake of their class; see `division`.

    Args:
        dataset: whose images.
        directories: of runs; the first that has saved a division counts.

    Returns:
        {digest: whether it is held out}; None if no run has divided these images.
    """
    for division in saved_by_runs(run_files.DIVISION, directories):
        if same_data_set(division["dataset"], dataset):
            return division["moved"]
    return None


def held_out_question(settings: Config) -> dict:
    """What a choice of held-out images is an answer to."""
    flags = settings.flat()
    return {name: flags[name] for name in ("dataset", *HELD_OUT_BY)}


def saved_held_out(settings: Config, directories: list[epath.Path]) -> list:
    """The ids of the images that a run held out with the same flags; empty if none has.

    Args:
        settings: the whole configuration.
        directories: of runs; the first that answers the same question counts.
    """
    saved = saved_by_runs(run_files.HELD_OUT, directories)
    choice = label_subset.matching(saved, held_out_question(settings))
    return choice["ids"] if choice else []
