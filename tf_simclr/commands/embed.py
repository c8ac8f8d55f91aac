"""Embeds images with a trained network: features, predictions and nearest neighbors in a file."""

import numpy as np
from absl import logging
from etils import epath
from scipy.special import softmax

from tf_simclr import distribute
from tf_simclr.commands.image_set import build_extractor, compute_image_set, load_all
from tf_simclr.commands.parquet import PARQUET, require_package
from tf_simclr.config import Config
from tf_simclr.console import announced_if_slow
from tf_simclr.curation import neighbors
from tf_simclr.errors import UserError, not_written
from tf_simclr.evaluation.metrics.base import by_blocks
from tf_simclr.report import markdown_tables
from tf_simclr.runs import files as run_files

MAX_LOGGED = 5  # images whose neighbors are in the log


def embed(settings: Config, alone: bool = True):
    """Writes --embed_output.

    Its columns, a row an image: name, split, label (the class, empty if unknown), embedding
    float32 [C], predicted and score where the network has a linear head, neighbors (rows of the
    most similar other images) and similarity (cosine), see `nearest_neighbors`.

    Args:
        settings: the whole configuration.
        alone: whether it is a single run, not a stage of a chain.

    Raises:
        UserError: no weights, no images, an ending that is not known, a path that can't be
            written to.
    """
    default_output = epath.Path(settings.train.model_dir) / run_files.EMBEDDINGS
    output = epath.Path(settings.embed.embed_output or default_output)
    if output.suffix not in WRITERS:
        accepted = " and ".join(WRITERS)
        raise UserError(f"--embed_output={output}: accepted are files that end in {accepted}")
    require_package(f"--embed_output={output}", output.suffix)
    extractor = build_extractor(settings, alone)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)  # now, not after the work
    except OSError as error:
        raise not_written(f"--embed_output={output}", error) from None
    columns = _compute_columns(extractor)
    if settings.embed.embed_neighbors:
        columns |= nearest_neighbors(columns["embedding"], settings.embed.embed_neighbors)
        logging.info("nearest neighbors:\n\n%s\n", _table(columns))
    if not distribute.is_chief(extractor.strategy):
        return
    try:
        _write(columns, output)
    except OSError as error:
        raise not_written(f"--embed_output={output}", error) from None
    logging.info("%s: %d images, %s", output, len(columns["name"]), ", ".join(columns))


def _compute_columns(extractor):
    """The columns but for the neighbors: {name: array [N, ...]} over all splits."""
    sources = load_all(extractor)
    images = compute_image_set(extractor, sources, "embedding")
    columns = {
        "name": images.names,
        "split": images.splits,
        "label": images.label_texts,
        "embedding": images.features,
    }
    if images.logits is not None:
        predicted = by_blocks(lambda block: softmax(block, 1).argmax(1), images.logits)
        columns["predicted"] = np.array(extractor.model.class_names)[predicted]
        columns["score"] = by_blocks(lambda block: softmax(block, 1).max(1), images.logits)
    return columns


def nearest_neighbors(embeddings: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """The most similar other images of each image, as `neighbors.nearest` finds them.

    Args:
        embeddings: [N, C].
        count: how many, at most N - 1.

    Returns:
        {"neighbors": int [N, count], "similarity": float32 [N, count]}; NOWHERE and -inf where
        fewer were found.

    Raises:
        UserError: some of the embeddings are not finite.
    """
    unit = neighbors.unit_features(embeddings)
    if len(unit) > neighbors.MAX_EXACT:
        logging.info(
            "nearest neighbors of %d images, more than %d: in groups of similar images, so that "
            "some of the farther ones may be missed",
            len(unit),
            neighbors.MAX_EXACT,
        )
    with announced_if_slow(f"nearest neighbors of {len(unit)} images"):
        similarity, nearest = neighbors.nearest_others(unit, count)
    return {"neighbors": nearest, "similarity": similarity.astype(np.float32)}


def _table(columns):
    """The neighbors of the first images as a Markdown table."""
    names = columns["name"]
    nearest = []
    for row in range(min(MAX_LOGGED, len(names))):
        pairs = zip(columns["neighbors"][row], columns["similarity"][row])
        others = [
            (names[neighbor], similarity)
            for neighbor, similarity in pairs
            if neighbor != neighbors.NOWHERE
        ]
        nearest.append((names[row], others))
    return markdown_tables.neighbors_table("image", nearest)


def _write(columns, output):
    """Writes the file whole or not at all: an older one stays until then."""
    with run_files.written_whole(output) as partial:
        WRITERS[output.suffix](columns, partial)


def _write_npz(columns, path):
    with path.open("wb") as file:
        np.savez(file, **columns)


def _write_parquet(columns, path):
    import pyarrow
    from pyarrow import parquet

    arrays = {}
    for name, values in columns.items():
        arrays[name] = list(values) if values.ndim > 1 else values
    with path.open("wb") as file:
        parquet.write_table(pyarrow.table(arrays), file)


WRITERS = {".npz": _write_npz, PARQUET: _write_parquet}
