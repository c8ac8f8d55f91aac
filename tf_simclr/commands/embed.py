"""Embeds images with a trained network: features, predictions and nearest neighbors in a file."""

import dataclasses

import numpy as np
from absl import logging
from etils import epath

from tf_simclr import distribute
from tf_simclr.checkpoints import pretrained
from tf_simclr.config import Config
from tf_simclr.data import augment, crop_check, datasets
from tf_simclr.data.source import Source, as_text
from tf_simclr.errors import UserError, write_error
from tf_simclr.evaluation import features
from tf_simclr.runs import files as run_files
from tf_simclr.training.training_data import saved_division

MAX_LOGGED = 5  # images whose neighbors are in the log
LAYERS = ("final_avg_pool", "logits_sup")


def embed(settings: Config, alone: bool = True):
    """Writes --embed_output.

    Its columns, a row an image: name, split, label (the class, empty if unknown), embedding
    float32 [C], predicted and score where the network has a linear head, neighbors (rows of the
    most similar other images) and similarity (cosine).

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
    strategy = distribute.get_strategy(settings.hardware)
    distribute.check_batch_sizes(strategy, settings, ("eval_batch_size",))
    path, flag = pretrained.weights_path(settings, alone)
    with strategy.scope():
        model = pretrained.load(path, flag, settings)
    run_directories = [epath.Path(path), *epath.Path(path).parents[:2]]  # also that of an export
    moved = saved_division(settings.data.dataset, run_directories)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)  # now, not after the work
    except OSError as error:
        raise _write_error(output, error) from None
    columns = _compute_columns(model, settings, strategy, moved)
    if settings.embed.embed_neighbors:
        columns |= nearest_neighbors(columns["embedding"], settings.embed.embed_neighbors)
        logging.info("nearest neighbors:\n\n%s\n", _table(columns))
    if not distribute.is_chief(strategy):
        return
    try:
        WRITERS[output.suffix](columns, output)
    except OSError as error:
        raise _write_error(output, error) from None
    logging.info("%s: %d images, %s", output, len(columns["name"]), ", ".join(columns))


def _write_error(output, error):
    reason = error.strerror or error
    return write_error(f"--embed_output={output}: it can't be written ({reason})", error)


def _compute_columns(model, settings, strategy, moved):
    """The columns but for the neighbors: {name: array [N, ...]} over all splits.

    `moved` is the saved division of the images, see `datasets.load`.
    """
    preprocessing = model.settings.preprocessing
    value_range = model.settings.data.value_range
    data = dataclasses.replace(settings.data, value_range=value_range)

    def example(image, label):
        return {"image": augment.eval_image(image, *preprocessing), "label": label}

    compute = features.feature_mapper(
        features.layer_features(model.network, LAYERS),
        example,
        settings.eval.eval_batch_size,
        strategy,
    )
    splits = [settings.embed.embed_split]
    if not settings.embed.embed_split:
        splits = datasets.splits(data, moved)
    columns_of_splits = []
    for split in splits:
        source = datasets.load(data, split, "embed_split", moved)
        crop_check.warn_of_cropping(source, preprocessing)
        arrays = compute(source, f"embedding, {split}")
        columns_of_splits.append(_columns_of_split(source, split, arrays, model.class_names))
    names = columns_of_splits[0]
    return {
        name: np.concatenate([columns[name] for columns in columns_of_splits]) for name in names
    }


def _columns_of_split(
    source: Source, split: str, arrays: dict[str, np.ndarray], class_names: tuple[str, ...]
):
    classes = np.array([*source.class_names, ""])  # the last one, at -1, is for unknown labels
    ids, _ = source.example_ids()
    columns = {
        "name": np.array([as_text(name) for name in ids]),
        "split": np.full(source.num_examples, split),
        "label": classes[arrays["label"]],
        "embedding": arrays["final_avg_pool"],
    }
    if "logits_sup" in arrays:
        logits = arrays["logits_sup"]
        odds = np.exp(logits - logits.max(1, keepdims=True))  # [N, num_classes]
        columns["predicted"] = np.array(class_names)[odds.argmax(1)]
        columns["score"] = odds.max(1) / odds.sum(1)
    return columns


def nearest_neighbors(embeddings: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """The most similar other images of each image.

    Args:
        embeddings: [N, C].
        count: how many, at most N - 1.

    Returns:
        {"neighbors": int [N, count], "similarity": float32 [N, count]}.
    """
    from sklearn.neighbors import NearestNeighbors  # late: it takes seconds to import

    count = min(count, len(embeddings) - 1)
    if not count:
        return {
            "neighbors": np.zeros([len(embeddings), 0], np.int64),
            "similarity": np.zeros([len(embeddings), 0], np.float32),
        }
    index = NearestNeighbors(n_neighbors=count, metric="cosine", algorithm="brute")
    distance, neighbors = index.fit(embeddings).kneighbors()
    return {"neighbors": neighbors, "similarity": (1 - distance).astype(np.float32)}


def _table(columns):
    """The neighbors of the first images as a Markdown table."""
    names = columns["name"]
    lines = ["| image | most similar (cosine) |", "|---|---|"]
    for row in range(min(MAX_LOGGED, len(names))):
        pairs = zip(columns["neighbors"][row], columns["similarity"][row])
        texts = [f"{names[neighbor]} ({similarity:.2f})" for neighbor, similarity in pairs]
        lines.append(f"| {names[row]} | {', '.join(texts)} |")
    return "\n".join(lines)


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


WRITERS = {".npz": _write_npz, ".parquet": _write_parquet}
