"""An evaluation on TensorBoard: figures, what the run was set to, and the features in the projector."""

import numpy as np
import tensorflow as tf

from tf_simclr import config
from tf_simclr.evaluation import report_images

TENSOR, METADATA, CONFIG = "features.tsv", "examples.tsv", "projector_config.pbtxt"


def write(run_directory, settings, step, figures, rows, shown):
    """Writes into a folder of the run directory (`epath.Path`), which is one of TensorBoard's runs.

    Args:
        figures: {tag: value}. rows: `measure.Rows` of the network. shown: what `showcase.show` has given.
    """
    from tensorboard.plugins.hparams import (
        api as hparams,
    )  # late: TensorBoard's plugins take a second to import

    directory = run_directory / (settings.eval.eval_name or "eval")
    with tf.summary.create_file_writer(str(directory)).as_default(step):
        for tag, value in figures.items():
            tf.summary.scalar(tag, value)
        tf.summary.image(
            "views", tf.io.decode_jpeg((run_directory / report_images.VIEWS).read_bytes())[None]
        )
        hparams.hparams(_hyperparameters(settings), trial_id=settings.train.model_dir)
    if "map" in shown:
        _project(directory, (run_directory / report_images.IMAGES).read_bytes(), rows, shown)


def _hyperparameters(settings):
    """The flags that make a run what it is, as texts and numbers; also those at their defaults, or a table of several runs would have holes."""
    fixed = {name for name, field in config.fields().items() if field.fixed}
    return {
        name: value if isinstance(value, (bool, int, float, str)) else str(value)
        for name, value in settings.flat().items()
        if name in fixed
    }


def _project(directory, thumbnails, rows, shown):
    """The features of the images on the map, with thumbnails (a JPEG) and labels, for the embedding projector."""
    from google.protobuf import text_format
    from tensorboard.plugins import projector

    images, mapped = shown["images"], report_images.on_map(rows)
    with (directory / TENSOR).open("w") as file:
        np.savetxt(file, rows.test[report_images.main_place(rows)][mapped], "%.5g", "\t")
    lines = ["label\tpredicted\tname"]
    for _, label, predicted, name in zip(
        mapped, images["labels"], images["predicted"], images["names"]
    ):  # those of the map come first
        lines.append(f"{label}\t{predicted}\t{' '.join(name.split())}")
    (directory / METADATA).write_text("\n".join(lines) + "\n")
    (directory / report_images.IMAGES).write_bytes(thumbnails)
    described = projector.ProjectorConfig()
    embedding = described.embeddings.add(
        tensor_name="features", tensor_path=TENSOR, metadata_path=METADATA
    )
    embedding.sprite.image_path = report_images.IMAGES
    embedding.sprite.single_image_dim.extend([images["size"]] * 2)
    (directory / CONFIG).write_text(text_format.MessageToString(described))
