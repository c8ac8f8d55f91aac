"""Embeds images with a trained network: features, predictions and nearest neighbours, in one file."""

import numpy as np
from absl import logging
from etils import epath

from tf_simclr import distribute
from tf_simclr.checkpoints import pretrained
from tf_simclr.data import augment, datasets
from tf_simclr.data.source import as_text
from tf_simclr.errors import UserError, write_error
from tf_simclr.evaluation import features

OUTPUT = "embeddings.npz"
SHOWN = 5  # images whose neighbours are in the log


def embed(settings, alone=True):
    """Writes --embed_output.

    The columns, a row an image: name, split, label (the class, empty if unknown), embedding float32 [C], predicted and score where
    the network has a linear head, neighbors (rows of the most similar other images) and similarity (cosine).

    Raises:
        UserError: no weights, no images, an ending that is not known, a path that can't be written to.
    """
    output = epath.Path(
        settings.embed.embed_output or epath.Path(settings.train.model_dir) / OUTPUT
    )
    if output.suffix not in WRITERS:
        raise UserError(
            f"--embed_output={output}: accepted are files that end in {' and '.join(WRITERS)}"
        )
    strategy = distribute.get_strategy(settings.hardware)
    distribute.check_batch_sizes(strategy, settings, ("eval_batch_size",))
    with strategy.scope():
        model = pretrained.load(*pretrained.weights_path(settings, alone), settings)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)  # now, not after the work
    except OSError as error:
        raise _unwritable(output, error) from None
    columns = _columns(model, settings, strategy)
    if settings.embed.embed_neighbors:
        columns |= neighbors(columns["embedding"], settings.embed.embed_neighbors)
        logging.info("nearest neighbours:\n\n%s\n", _table(columns))
    if not distribute.is_chief(strategy):
        return
    try:
        WRITERS[output.suffix](columns, output)
    except OSError as error:
        raise _unwritable(output, error) from None
    logging.info("%s: %d images, %s", output, len(columns["name"]), ", ".join(columns))


def _unwritable(output, error):
    return write_error(
        f"--embed_output={output}: it can't be written ({error.strerror or error})", error
    )


def _columns(model, settings, strategy):
    network, size = model.network, model.settings.data.image_size

    def example(image, label):
        return {"image": augment.eval_image(image, size), "label": label}

    compute, parts = (
        features.feature_mapper(
            features.layer_features(network, ("final_avg_pool", "logits_sup")),
            example,
            settings.eval.eval_batch_size,
            strategy,
        ),
        [],
    )
    for split in (
        [settings.embed.embed_split]
        if settings.embed.embed_split
        else datasets.splits(settings.data)
    ):
        source = datasets.load(settings.data, split, "embed_split")
        rows = compute(source, f"embedding, {split}")
        classes = np.array(
            [*source.class_names, ""]
        )  # the last one, at -1, is that of an unknown label
        names = np.array(list(map(as_text, source.example_ids()[0])))
        part = {
            "name": names,
            "split": np.full(source.num_examples, split),
            "label": classes[rows["label"]],
            "embedding": rows["final_avg_pool"],
        }
        if "logits_sup" in rows:
            odds = np.exp(
                rows["logits_sup"] - rows["logits_sup"].max(1, keepdims=True)
            )  # [N, num_classes]
            part |= {
                "predicted": np.array(model.class_names)[odds.argmax(1)],
                "score": odds.max(1) / odds.sum(1),
            }
        parts.append(part)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def neighbors(embeddings, count):
    """The `count` most similar others of each of the embeddings [N, C]: {"neighbors" int [N, count], "similarity" float32 [N, count]}."""
    from sklearn.neighbors import NearestNeighbors  # late: it takes seconds to import

    count = min(count, len(embeddings) - 1)
    if not count:
        return {
            "neighbors": np.zeros([len(embeddings), 0], np.int64),
            "similarity": np.zeros([len(embeddings), 0], np.float32),
        }
    distance, index = (
        NearestNeighbors(n_neighbors=count, metric="cosine", algorithm="brute")
        .fit(embeddings)
        .kneighbors()
    )
    return {"neighbors": index, "similarity": (1 - distance).astype(np.float32)}


def _table(columns):
    lines = ["| image | most similar (cosine) |", "|---|---|"]
    for row in range(min(SHOWN, len(columns["name"]))):
        pairs = zip(columns["neighbors"][row], columns["similarity"][row])
        lines.append(
            f"| {columns['name'][row]} | "
            + ", ".join(f"{columns['name'][index]} ({value:.2f})" for index, value in pairs)
            + " |"
        )
    return "\n".join(lines)


def _write_npz(columns, path):
    with path.open("wb") as file:
        np.savez(file, **columns)


def _write_parquet(columns, path):
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table(
        {name: list(values) if values.ndim > 1 else values for name, values in columns.items()}
    )
    with path.open("wb") as file:
        parquet.write_table(table, file)


WRITERS = {".npz": _write_npz, ".parquet": _write_parquet}
