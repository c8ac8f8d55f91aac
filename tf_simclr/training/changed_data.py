"""What is different in the data since a run began."""

from absl import logging

from tf_simclr.checkpoints.class_names import saved_class_names
from tf_simclr.config import Config
from tf_simclr.data.source import Source, first_names
from tf_simclr.errors import UserError
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.training.prior_networks import other_classes
from tf_simclr.training.training_data import TrainingData

CONSEQUENCE = ": their order and the steps of an epoch are others from here on"  # of a training


def warn_of_other_images(settings: Config, directory: RunDirectory, data: TrainingData):
    """Says if there are more or fewer images or labels.

    Args:
        settings: the whole configuration.
        directory: of the run.
        data: of today.
    """
    saved = directory.read(run_files.DATA) or {}
    num_labels = data.train_source.num_labeled
    if saved.get("labels", num_labels) != num_labels:
        logging.warning(
            "the run began with %d labels and there are %d now", saved["labels"], num_labels
        )
    if saved.get("images", data.num_available) != data.num_available:
        logging.warning(
            "the run began with %d images and there are %d now%s",
            saved["images"],
            data.num_available,
            CONSEQUENCE if settings.mode.trains else "",
        )


def check_classes(directory: RunDirectory, source: Source):
    """Checks that the classes are still those that the run's own checkpoints know.

    A single name that is another in the same place is taken to be a new name of the same class.

    Args:
        directory: of the run; without a checkpoint it knows no classes.
        source: the training images.

    Raises:
        UserError: other classes, or another order of them.
    """
    has_weights = (directory.path / run_files.CHECKPOINT_LIST).exists()
    saved = saved_class_names(directory.path) if has_weights else ()
    difference = other_classes(len(saved), saved, source)
    if not difference:
        return
    difference = f"--model_dir={directory.path}: of the run that is there, {difference}"
    if _is_one_renamed(saved, source.class_names):
        logging.warning(
            "%s: this is taken to be a new name of the same class, also in results and exports; "
            "give a new --model_dir if it is another class",
            difference,
        )
        return
    raise UserError(
        f"{difference}; undo what was changed in its classes ({first_names(list(saved))}), or "
        f"start another run from its weights with {directory.flags_of_another()}"
    )


def _is_one_renamed(saved, current):
    if len(saved) != len(current):
        return False
    return sum(name != other for name, other in zip(saved, current)) == 1
