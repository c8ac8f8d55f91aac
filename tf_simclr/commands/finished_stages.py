"""Which stages of a chain are finished, and what has changed since. No TensorFlow here."""

import os

from absl import logging

from tf_simclr import config
from tf_simclr.config import Config, label_tables
from tf_simclr.config.values import FOLDER, directory_of, folders_of
from tf_simclr.data.image_endings import is_image
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory


def is_finished(directory: RunDirectory, settings: Config) -> bool:
    """Whether a stage was trained to its last step, evaluated and exported.

    Args:
        directory: of the stage.
        settings: its configuration.
    """
    result = directory.read(run_files.RESULT)
    if result is None or directory.other_length() is not None:
        return False
    is_evaluated = result.get("evaluated_with") == settings.evaluation_flags
    return is_trained(result) and is_evaluated and _is_exported(directory, settings, result)


def is_trained(result: dict) -> bool:
    """Whether the content of a `result.json` is of the last step of the training."""
    return result["global_step"] == result.get("total_steps")


def _is_exported(directory, settings, result):
    """Whether all was exported that is asked for, with the precision that is asked for."""
    wanted = settings.export_flags
    exported = result.get("exported_with", config.build({}).export_flags)
    # A SavedModel always is, and other formats may be, too.
    formats = {"saved_model", *exported["export_formats"]}
    has_formats = set(wanted["export_formats"]) <= formats
    has_limit = wanted["serving_max_pixels"] == exported["serving_max_pixels"]
    calibration = directory.read(run_files.CALIBRATION) or {}
    precision = settings.predict.predict_precision
    has_precision = calibration.get("precision", precision) == precision
    return has_formats and has_limit and has_precision


def warn_of_new_labels(directory: RunDirectory, settings: Config):
    """A finished stage does not read a table again that has changed since.

    Args:
        directory: of the stage.
        settings: its configuration.
    """
    labels = settings.data.labels
    name, _ = label_tables.separate_columns(labels)
    folders = list(map(directory_of, folders_of(settings.data.dataset)))
    table = label_tables.find(name, folders) if name else None
    result = directory.path / run_files.RESULT
    if table is not None and os.path.getmtime(table) > result.stat().mtime:
        logging.warning(
            "--labels=%s has changed since stage %s was finished, which does not read it "
            "again; train on the new labels in a new --model_dir",
            labels,
            directory.path.name,
        )


def warn_of_new_images(directory: RunDirectory, settings: Config):
    """A finished stage does not look again into folders that have changed since.

    Args:
        directory: of the stage.
        settings: its configuration.
    """
    finished = (directory.path / run_files.RESULT).stat().mtime
    own = os.path.realpath(directory.path.parent)
    for flag in ("dataset", "unlabeled_dataset"):
        dataset = getattr(settings.data, flag)
        folders = folders_of(dataset) if dataset.startswith(FOLDER) else []
        changes = (path for folder in folders for path in _changed(folder, finished, own))
        changed = next(changes, None)
        if changed is not None:
            logging.warning(
                "--%s=%s: %s is new or has changed since stage %s was finished, which does not "
                "look at it again; train on new images in a new --model_dir",
                flag,
                dataset,
                changed,
                directory.path.name,
            )


def _changed(folder, second, own):
    """Yields images and folders below a folder that came or changed after a second.

    Of folders that nothing came into or left, which their own time says, no file is looked at. What
    is in the run directory `own` is of the run itself.
    """
    entered = {own}
    for path, folders, files in os.walk(folder, followlinks=True):
        targets = {name: os.path.realpath(os.path.join(path, name)) for name in folders}
        folders[:] = [
            name
            for name in sorted(folders)
            if not name.startswith(".") and targets[name] not in entered
        ]
        entered |= {targets[name] for name in folders}
        if int(os.stat(path).st_mtime) <= second:
            continue
        images = [name for name in files if is_image(name) and not name.startswith(".")]
        for name in (*folders, *sorted(images)):
            inner = os.path.join(path, name)
            # The time of its content may be older: a copy can keep it.
            if int(os.lstat(inner).st_ctime) > second:
                yield inner
