"""An evaluation on TensorBoard: metrics, flags, views, and the features in the projector."""

import io

import numpy as np
import tensorflow as tf

from tf_simclr import config
from tf_simclr.config import Config
from tf_simclr.evaluation.network_features import NetworkFeatures
from tf_simclr.evaluation.report_images import main_layer, mapped_examples
from tf_simclr.runs import files as run_files


def write_events(
    run_directory,
    *,
    settings: Config,
    step: int,
    metrics: dict[str, float],
    features: NetworkFeatures,
    report_images: dict,
):
    """Writes into a folder of the run directory, which is one of TensorBoard's runs.

    Args:
        run_directory: `epath.Path`.
        settings: the whole configuration.
        step: of the training.
        metrics: {tag: value}.
        features: of the trained network.
        report_images: what `report_images.write_report_images` has returned.
    """
    from tensorboard.plugins.hparams import api as hparams  # late: it takes a second to import

    directory = run_directory / (settings.eval.eval_name or run_files.EVAL_EVENTS)
    views = tf.io.decode_jpeg((run_directory / run_files.REPORT_VIEWS).read_bytes())
    with tf.summary.create_file_writer(str(directory)).as_default(step):
        for tag, value in metrics.items():
            tf.summary.scalar(tag, value)
        tf.summary.image("views", views[None])
        hparams.hparams(_hyperparameters(settings), trial_id=settings.train.model_dir)
    if "map" in report_images:
        thumbnails = (run_directory / run_files.REPORT_IMAGES).read_bytes()
        _write_projector(directory, thumbnails, features, report_images["images"])


def _hyperparameters(settings):
    """The flags that make a run what it is, as texts and numbers.

    Those at their defaults are there as well, or a table of several runs would have holes.
    """
    fields = config.fields()
    hyperparameters = {}
    for name, value in settings.flat().items():
        if fields[name].fixed:
            is_plain_value = isinstance(value, (bool, int, float, str))
            hyperparameters[name] = value if is_plain_value else str(value)
    return hyperparameters


def _write_projector(directory, thumbnails, features, images):
    """The features of the images on the map, for the embedding projector.

    Args:
        directory: of the events.
        thumbnails: content of the JPEG with the images.
        features: of the trained network.
        images: "images" of results.json, those of the map first.
    """
    from google.protobuf import text_format
    from tensorboard.plugins import projector

    mapped = mapped_examples(features)
    table = io.StringIO()
    np.savetxt(table, features.test[main_layer(features)][mapped], "%.5g", "\t")
    run_files.write_text(directory / run_files.PROJECTOR_FEATURES, table.getvalue())
    lines = ["label\tpredicted\tname"]
    columns = zip(mapped, images["labels"], images["predicted"], images["names"])
    for _, label, predicted, name in columns:
        lines.append(f"{label}\t{predicted}\t{' '.join(name.split())}")
    run_files.write_text(directory / run_files.PROJECTOR_METADATA, "\n".join(lines) + "\n")
    run_files.write_bytes(directory / run_files.REPORT_IMAGES, thumbnails)
    description = projector.ProjectorConfig()
    embedding = description.embeddings.add(
        tensor_name="features",
        tensor_path=run_files.PROJECTOR_FEATURES,
        metadata_path=run_files.PROJECTOR_METADATA,
    )
    embedding.sprite.image_path = run_files.REPORT_IMAGES
    embedding.sprite.single_image_dim.extend([images["size"]] * 2)
    text = text_format.MessageToString(description)
    run_files.write_text(directory / run_files.PROJECTOR_CONFIG, text)
