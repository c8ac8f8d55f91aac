"""What is different in the data since a run began."""

from absl import logging

from tf_simclr.config import Config
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory
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
