"""What the report and TensorBoard show of images: a map, neighbors, mistakes, augmented views."""

import math

import numpy as np
import tensorflow as tf
from threadpoolctl import threadpool_limits

from tf_simclr.config import Config
from tf_simclr.data import pipeline
from tf_simclr.data.source import Source
from tf_simclr.evaluation.metrics.base import draw
from tf_simclr.evaluation.network_features import LOGITS, NetworkFeatures
from tf_simclr.evaluation.results import Results
from tf_simclr.runs import files as run_files

MAX_MAPPED = 1000  # test images on the map
# Side of a thumbnail: of images of up to 32 pixels, and of others.
SMALL_THUMBNAIL = 32
LARGE_THUMBNAIL = 64
NUM_VIEWED = 8  # training images whose views are shown
MAX_VIEW_SIZE = 96
PCA_DIMENSIONS = 50  # before t-SNE (van der Maaten and Hinton 2008)
PERPLEXITY = 30
JPEG_QUALITY = 92
SMALLEST_SPREAD = 1e-6  # of features, relative to the largest; t-SNE would end the whole process


def main_layer(features: NetworkFeatures) -> str:
    """The layer whose neighbors and map are shown: the encoder's output, or the last layer."""
    if "final_avg_pool" in features.test:
        return "final_avg_pool"
    return [layer for layer in features.layers if layer != LOGITS][-1]


def mapped_examples(features: NetworkFeatures) -> np.ndarray:
    """Positions of the test examples on the map, int64 [n], ascending."""
    return draw(len(features.test["label"]), MAX_MAPPED)


def write_report_images(
    directory,
    objective,
    *,
    source: Source,
    train_source: Source,
    features: NetworkFeatures,
    results: Results,
    settings: Config,
) -> dict:
    """Writes the sheets of images.

    Args:
        directory: `epath.Path` of the run.
        objective: the trained network, and what the training makes of images.
        source: the test examples.
        train_source: the images whose views are shown.
        features: of the trained network on the test examples.
        results: of the evaluation.
        settings: the whole configuration.

    Returns:
        What is on the sheets: images, map, neighbors, mistakes and views of `results.json`.
    """
    layer = main_layer(features)
    details = results.details.get("trained", {})
    neighbors = details.get(layer, {}).get("neighbors", [])
    mistakes = details.get("classifier", {}).get("mistakes", [])
    mapped = mapped_examples(features)
    examples = _examples_on_sheet(mapped, neighbors, mistakes)
    number_of = {int(example): number for number, example in enumerate(examples)}
    content = {
        "images": _write_image_sheet(directory, objective, source, features, examples, settings)
    }
    maps = _project(features.test[layer][mapped])
    if maps:
        content["map"] = {"images": list(range(len(mapped))), **maps}
    content["neighbors"] = [_renumbered_neighbors(query, number_of) for query in neighbors]
    content["mistakes"] = [_renumbered_mistake(mistake, number_of) for mistake in mistakes]
    content["views"] = _write_view_sheet(directory, objective, train_source, settings)
    return content


def _examples_on_sheet(mapped, neighbors, mistakes):
    """Positions of all examples that are shown; those of the map come first, in their order."""
    others = {mistake["example"] for mistake in mistakes}
    for query in neighbors:
        others.add(query["query"])
        others.update(query["neighbors"])
    others = sorted(others.difference(mapped.tolist()))
    return np.concatenate([mapped, np.array(others, np.int64)])


def _renumbered_neighbors(query, number_of):
    numbers = [number_of[example] for example in query["neighbors"]]
    return {**query, "query": number_of[query["query"]], "neighbors": numbers}


def _renumbered_mistake(mistake, number_of):
    rest = {name: value for name, value in mistake.items() if name != "example"}
    return {"image": number_of[mistake["example"]], **rest}


def _write_image_sheet(directory, objective, source, features, examples, settings):
    """Writes thumbnails of test examples, and returns what is on the sheet."""
    is_small = settings.data.image_size <= SMALL_THUMBNAIL
    size = SMALL_THUMBNAIL if is_small else LARGE_THUMBNAIL
    order = np.argsort(examples)
    positions = features.test["position"][examples]
    thumbnails = np.empty([len(examples), size, size, 3], np.uint8)
    for number, (record, label) in zip(order, source.pick(positions[order])):
        image = objective.eval_example(source.decode(record), label)["image"]
        thumbnails[number] = _thumbnail(image, size)
    num_columns = math.ceil(math.sqrt(len(examples)))
    _write_sheet(directory / run_files.REPORT_IMAGES, thumbnails, num_columns)
    predicted = [None] * len(examples)
    if LOGITS in features.test:
        predicted = features.test[LOGITS][examples].argmax(1).tolist()
    return {
        "file": run_files.REPORT_IMAGES,
        "size": size,
        "columns": num_columns,
        "names": source.names_of(positions),
        "labels": features.test["label"][examples].tolist(),
        "predicted": predicted,
    }


def _thumbnail(image, size):
    """An image float32 [S, S, 3] in [0, 1] as uint8 [size, size, 3].

    What is beyond [0, 1] is clipped; few pixels stay the squares that they are.
    """
    is_enlarged = image.shape[0] <= size
    methods = tf.image.ResizeMethod
    method = methods.NEAREST_NEIGHBOR if is_enlarged else methods.AREA
    pixels = tf.image.resize(image, [size, size], method) * 255
    return tf.saturate_cast(tf.math.rint(pixels), tf.uint8).numpy()


def _project(features):
    """The features [n, C] on a plane.

    Returns:
        {"pca": [[x, y]], "tsne": [[x, y]]}; nothing for features that are not finite or all the
        same, and for fewer than 4.
    """
    from sklearn.decomposition import PCA  # late: t-SNE takes a second to import
    from sklearn.manifold import TSNE

    if len(features) < 4 or features.shape[1] < 2 or not np.isfinite(features).all():
        return {}
    features = features.astype(np.float64)
    spread = np.ptp(features, 0).max()
    if spread <= SMALLEST_SPREAD * np.abs(features).max():
        return {}
    pca = PCA(min(PCA_DIMENSIONS, *features.shape), random_state=0)
    reduced = pca.fit_transform(features - features.mean(0))
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    with threadpool_limits(1):  # with so few points the threads would wait for one another
        tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=0)
        points = tsne.fit_transform(reduced)
    return {"pca": _rounded(reduced[:, :2]), "tsne": _rounded(points)}


def _rounded(points):
    """Points scaled into [-1, 1], with as many digits as a picture shows."""
    scale = max(np.abs(points).max(), 1e-30)
    return np.round(points / scale, 4).tolist()


def _write_view_sheet(directory, objective, source, settings):
    """Writes training images, each beside what the training makes of it.

    See `Objective.pictures`. Returns what is on the sheet.
    """
    seed = settings.train.seed
    numbers = source.draw(NUM_VIEWED, seed) if objective.needs_index else range(NUM_VIEWED)
    images, examples = [], []
    drawn = source.at_most(NUM_VIEWED, seed)
    for index, (number, (record, label)) in enumerate(zip(numbers, drawn.ordered())):
        picture = drawn.open(record)
        example_seed = pipeline.fold_in(seed, 0, index)
        examples.append(objective.example(picture, label, example_seed, number))
        images.append(objective.eval_example(picture.whole(), label)["image"])
    pictures = objective.pictures(_as_batch(examples))
    columns = [images, *pictures.values()]
    size = min(images[0].shape[0], MAX_VIEW_SIZE)
    size = size * max(SMALL_THUMBNAIL // size, 1)  # tiny images are enlarged by whole pixels
    thumbnails = [_thumbnail(image, size) for row in zip(*columns) for image in row]
    _write_sheet(directory / run_files.REPORT_VIEWS, np.array(thumbnails), len(columns))
    return {
        "file": run_files.REPORT_VIEWS,
        "size": size,
        "columns": len(columns),
        "rows": len(images),
        "names": ["image", *pictures],
    }


def _as_batch(examples):
    """Dicts of tensors as one dict of stacked tensors."""
    batch = {}
    for name in examples[0]:
        tensors = [tf.convert_to_tensor(example[name]) for example in examples]
        batch[name] = tf.stack(tensors)
    return batch


def _write_sheet(path, images, num_columns):
    """Writes images uint8 [n, S, S, 3] as one JPEG, row by row."""
    num_rows = -(-len(images) // num_columns)
    size = images.shape[1]
    cells = np.zeros([num_rows * num_columns, size, size, 3], np.uint8)
    cells[: len(images)] = images
    grid = cells.reshape(num_rows, num_columns, size, size, 3)
    sheet = grid.swapaxes(1, 2).reshape(num_rows * size, num_columns * size, 3)
    encoded = tf.io.encode_jpeg(sheet, quality=JPEG_QUALITY, chroma_downsampling=False)
    run_files.write_bytes(path, encoded.numpy())
