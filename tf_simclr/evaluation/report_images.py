"""What one looks at: test images with a map of their features, neighbours, mistakes, augmented views. For report and TensorBoard."""

import math

import numpy as np
import tensorflow as tf
from threadpoolctl import threadpool_limits

from tf_simclr.data import pipeline
from tf_simclr.evaluation.evaluator import LOGITS, NOT_LAYERS
from tf_simclr.evaluation.metrics.base import draw

IMAGES, VIEWS = "report_images.jpg", "report_views.jpg"  # sheets of images, row by row
ON_MAP = 1000  # test images
SMALL, LARGE = 32, 64  # side of a thumbnail of images of up to 32 pixels, and of others
PAIRS, SIDE = 8, 96  # images whose views are shown, and how large at most


def main_place(rows):
    """The layer whose neighbours and map are shown: the encoder's output, or the last one that is evaluated."""
    return (
        "final_avg_pool"
        if "final_avg_pool" in rows.test
        else [place for place in rows.test if place not in NOT_LAYERS][-1]
    )


def on_map(rows):
    """Positions of the test examples on the map, int64 [n], rising."""
    return draw(len(rows.test["label"]), ON_MAP)


def show(experiment, source, rows, findings):
    """Writes the sheets of images and returns what is on them: the parts images, map, neighbors, mistakes, views of `results.json`.

    Args:
        source: the test examples. rows: `measure.Rows` of the trained network on them. findings: `Findings`.
    """
    details = findings.details.get("trained", {})
    neighbors = details.get(main_place(rows), {}).get("neighbors", [])
    mistakes = details.get("classifier", {}).get("mistakes", [])
    mapped = on_map(rows)
    others = {row for one in neighbors for row in (one["query"], *one["neighbors"])} | {
        one["example"] for one in mistakes
    }
    shown = np.concatenate(
        [mapped, np.array(sorted(others.difference(mapped.tolist())), np.int64)]
    )  # those of the map first, in their order
    number = {int(row): index for index, row in enumerate(shown)}
    maps = _maps(rows.test[main_place(rows)][mapped])
    return {
        "images": _images(experiment, source, rows, shown),
        **({"map": {"images": list(range(len(mapped))), **maps}} if maps else {}),
        "neighbors": [
            {
                **one,
                "query": number[one["query"]],
                "neighbors": [number[row] for row in one["neighbors"]],
            }
            for one in neighbors
        ],
        "mistakes": [
            {
                "image": number[one["example"]],
                **{name: value for name, value in one.items() if name != "example"},
            }
            for one in mistakes
        ],
        "views": _views(experiment),
    }


def _images(experiment, source, rows, shown):
    size = SMALL if experiment.settings.data.image_size <= SMALL else LARGE
    order, positions = np.argsort(shown), rows.test["position"][shown]
    thumbnails = np.empty([len(shown), size, size, 3], np.uint8)
    for place, (record, label) in zip(order, source.pick(positions[order])):
        image = experiment.objective.eval_example(source.decode(record), label)["image"]
        thumbnails[place] = _thumbnail(image, size)
    columns = math.ceil(math.sqrt(len(shown)))
    _write_sheet(experiment.directory.path / IMAGES, thumbnails, columns)
    predicted = (
        rows.test[LOGITS][shown].argmax(1).tolist() if LOGITS in rows.test else [None] * len(shown)
    )
    return {
        "file": IMAGES,
        "size": size,
        "columns": columns,
        "names": source.names_of(positions),
        "labels": rows.test["label"][shown].tolist(),
        "predicted": predicted,
    }


def _thumbnail(image, size):
    """float32 [S, S, 3] in [0, 1], what is beyond it clipped -> uint8 [size, size, 3]; few pixels stay the squares that they are."""
    method = (
        tf.image.ResizeMethod.NEAREST_NEIGHBOR
        if image.shape[0] <= size
        else tf.image.ResizeMethod.AREA
    )
    return tf.saturate_cast(
        tf.math.rint(tf.image.resize(image, [size, size], method) * 255), tf.uint8
    ).numpy()


def _maps(features):
    """{"pca": [[x, y]], "tsne": [[x, y]]} of features [n, C]; nothing of features that are not finite or all the same, and of fewer than 4."""
    from sklearn.decomposition import PCA  # late: t-SNE takes a second to import
    from sklearn.manifold import TSNE

    if len(features) < 4 or features.shape[1] < 2 or not np.isfinite(features).all():
        return {}
    features = features.astype(np.float64)
    if (
        np.ptp(features, 0).max() <= 1e-6 * np.abs(features).max()
    ):  # t-SNE would end the whole process
        return {}
    reduced = PCA(min(50, *features.shape), random_state=0).fit_transform(
        features - features.mean(0)
    )  # 50 as van der Maaten & Hinton 2008
    with threadpool_limits(1):  # so few points: the threads would wait for one another
        tsne = TSNE(
            2, perplexity=min(30, (len(features) - 1) / 3), init="pca", random_state=0
        ).fit_transform(reduced)
    return {"pca": _rounded(reduced[:, :2]), "tsne": _rounded(tsne)}


def _rounded(points):
    """In [-1, 1], with as many digits as a picture shows."""
    return np.round(points / max(np.abs(points).max(), 1e-30), 4).tolist()


def _views(experiment):
    """Some training images, each beside what the training makes of it, see `Objective.pictures`."""
    objective, source, seed = (
        experiment.objective,
        experiment.parts[0].source,
        experiment.settings.train.seed,
    )
    numbers = source.draw(PAIRS, seed) if objective.needs_index else range(PAIRS)
    themselves, examples = [], []
    shown = source.at_most(PAIRS, seed)
    for row, (number, (record, label)) in enumerate(zip(numbers, shown.ordered())):
        picture = shown.open(record)
        examples.append(objective.example(picture, label, pipeline.fold_in(seed, 0, row), number))
        themselves.append(objective.eval_example(picture.whole(), label)["image"])
    pictures = objective.pictures(
        {
            name: tf.stack([tf.convert_to_tensor(example[name]) for example in examples])
            for name in examples[0]
        }
    )
    rows = list(zip(themselves, *pictures.values()))
    size = min(rows[0][0].shape[0], SIDE)
    size = size * max(SMALL // size, 1)  # tiny images larger, in whole pixels
    _write_sheet(
        experiment.directory.path / VIEWS,
        np.array([_thumbnail(image, size) for row in rows for image in row]),
        len(rows[0]),
    )
    return {
        "file": VIEWS,
        "size": size,
        "columns": len(rows[0]),
        "rows": len(rows),
        "names": ["image", *pictures],
    }


def _write_sheet(path, images, columns):
    """images uint8 [n, S, S, 3] as one JPEG."""
    rows = -(-len(images) // columns)
    size = images.shape[1]
    sheet = np.zeros([rows * columns, size, size, 3], np.uint8)
    sheet[: len(images)] = images
    sheet = (
        sheet.reshape(rows, columns, size, size, 3)
        .swapaxes(1, 2)
        .reshape(rows * size, columns * size, 3)
    )
    path.write_bytes(tf.io.encode_jpeg(sheet, quality=92, chroma_downsampling=False).numpy())
