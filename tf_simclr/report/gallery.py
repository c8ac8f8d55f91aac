"""What the page shows of images: the map, the neighbors, the mistakes, the confusions."""

import dataclasses
import heapq

import numpy as np

from tf_simclr.report.evaluated import CLASSIFIER
from tf_simclr.report.runs import Run

NUM_COLORS = 10
NUM_SHAPES = 6
MAX_TABLE_CLASSES = 20  # up to which a confusion matrix is a table with numbers
NUM_CONFUSED = 10  # pairs of classes
# The map is drawn in a square of 100 pixels with a margin.
MAP_CENTER = 50
MAP_SIZE = 94


@dataclasses.dataclass(frozen=True)
class Thumb:
    """One image.

    Attributes:
        x: its column in the sheet.
        y: its row in the sheet.
        words: what it is.
        verdict: "right", "wrong" or "", the class of its border.
        beneath: what stands beneath it.
    """

    x: int
    y: int
    words: str
    verdict: str = ""
    beneath: str = ""


def _thumb(run, index, words, verdict="", beneath=""):
    x, y = run.images.position(index)
    return Thumb(x, y, words, verdict, beneath)


def describe(run: Run, index: int) -> str:
    """An image in words: name, class, what it was taken for."""
    images = run.get("images")
    label, predicted = images["labels"][index], images["predicted"][index]
    words = [images["names"][index]]
    if label >= 0:
        words.append(f"class {run.class_name(label)}")
    if predicted is not None:
        verdict = "right" if predicted == label else "wrong"
        suffix = f", {verdict}" if label >= 0 else ""
        words.append(f"predicted {run.class_name(predicted)}{suffix}")
    return " · ".join(words)


@dataclasses.dataclass(frozen=True)
class Point:
    """One image on the map.

    Attributes:
        image: its number.
        label: its class, -1 if unknown.
        shape: number of its mark.
        color: number of its color, None for none.
        pca: "x,y" in percent of the map's width and height.
        tsne: likewise.
        words: what it is.
    """

    image: int
    label: int
    shape: int
    color: int | None
    pca: str
    tsne: str
    words: str


def points(run: Run) -> list[Point]:
    """The points of a run's map, empty without one or without the images it is of."""
    content = run.get("map")
    if not content or not run.get("images"):
        return []
    pca = _fitted(content["pca"])
    tsne = _fitted(content["tsne"]) if "tsne" in content else pca
    mapped = []
    for index, pca_point, tsne_point in zip(content["images"], pca, tsne):
        label = run.get("images")["labels"][index]
        shape, color = mark(label)
        words = describe(run, index)
        mapped.append(Point(index, label, shape, color, pca_point, tsne_point, words))
    return mapped


def mark(label: int) -> tuple[int, int | None]:
    """(shape, color) of a class: a pair for each of 60, then again.

    Colors next to each other have different shapes.
    """
    if label < 0:
        return 0, None
    return (label + label // NUM_COLORS) % NUM_SHAPES, label % NUM_COLORS


def legend(run: Run) -> list[tuple]:
    """[(label, shape, color, name)] of the classes on a run's map."""
    entries = []
    for label in sorted({point.label for point in points(run)}):
        name = run.class_name(label) if label >= 0 else "unknown"
        entries.append((label, *mark(label), name))
    return entries


def _fitted(coordinates):
    """Points moved and scaled alike in both directions, into the map."""
    if not coordinates:
        return []
    xs, ys = zip(*coordinates)
    size = max(max(xs) - min(xs), max(ys) - min(ys)) or 1
    middle_x = (max(xs) + min(xs)) / 2
    middle_y = (max(ys) + min(ys)) / 2
    fitted = []
    for x, y in coordinates:
        left = MAP_CENTER + MAP_SIZE * (x - middle_x) / size
        top = MAP_CENTER - MAP_SIZE * (y - middle_y) / size
        fitted.append(f"{left:.1f}px,{top:.1f}px")
    return fitted


def neighbors(run: Run) -> list[tuple[Thumb, list[Thumb]]]:
    """[(the query, its neighbors)], empty where there are no images to show."""
    if not run.images:
        return []
    queries = []
    for entry in run.get("neighbors") or []:
        query = entry["query"]
        words = f"query: {describe(run, query)}"
        thumb = _thumb(run, query, words, beneath=_class_of(run, query))
        pairs = zip(entry["neighbors"], entry["similarity"])
        queries.append((thumb, [_neighbor(run, query, index, value) for index, value in pairs]))
    return queries


def _neighbor(run, query, index, similarity):
    labels = run.get("images")["labels"]
    verdict, suffix = "", ""
    if labels[query] >= 0 and labels[index] >= 0:
        is_same = labels[query] == labels[index]
        verdict = "right" if is_same else "wrong"
        suffix = ", the same class" if is_same else ", another class"
    words = f"{describe(run, index)}, similarity {similarity:.2f}{suffix}"
    return _thumb(run, index, words, verdict, f"{similarity:.2f}")


def _class_of(run, index):
    label = run.get("images")["labels"][index]
    return run.class_name(label) if label >= 0 else ""


def mistakes(run: Run) -> list[tuple[Thumb, str, str, str]]:
    """[(image, right class, predicted class, confidence as text)], the most confident first."""
    if not run.images:
        return []
    entries = []
    for mistake in run.get("mistakes") or []:
        image = mistake["image"]
        thumb = _thumb(run, image, describe(run, image), "wrong")
        label = run.class_name(mistake["label"])
        predicted = run.class_name(mistake["predicted"])
        entries.append((thumb, label, predicted, f"{mistake['confidence']:.1%}"))
    return entries


def views(run: Run) -> list[list[tuple[int, int]]]:
    """Rows of the positions of an image and its views in the sheet."""
    if not run.views:
        return []
    return [[(x, y) for x in range(run.views.columns)] for y in range(run.views.rows)]


def confusion(run: Run) -> list[tuple[str, list[tuple[int, float]]]]:
    """Rows (class, [(count, share of the row)]) of a matrix small enough for a table."""
    matrix = run.details(CLASSIFIER, "confusion")
    if not matrix or len(matrix) > MAX_TABLE_CLASSES:
        return []
    table = []
    for label, counts in enumerate(matrix):
        total = max(sum(counts), 1)
        cells = [(count, round(count / total, 3)) for count in counts]
        table.append((run.class_name(label), cells))
    return table


def shares(run: Run) -> np.ndarray | None:
    """A larger confusion matrix, each row divided by its sum; None for a small one."""
    matrix = np.array(run.details(CLASSIFIER, "confusion") or [])
    if len(matrix) <= MAX_TABLE_CLASSES:
        return None
    return matrix / np.maximum(matrix.sum(1, keepdims=True), 1)


def confused(run: Run) -> list[tuple[str, str, int, str]]:
    """[(right class, predicted class, count, share of the class)] of what is confused most."""
    matrix = run.details(CLASSIFIER, "confusion") or []
    pairs = []
    for label, counts in enumerate(matrix):
        for predicted, count in enumerate(counts):
            if count and label != predicted:
                pairs.append((-count, label, predicted))
    entries = []
    for negative_count, label, predicted in heapq.nsmallest(NUM_CONFUSED, pairs):
        count = -negative_count
        share = f"{count / sum(matrix[label]):.1%}"
        entries.append((run.class_name(label), run.class_name(predicted), count, share))
    return entries


def per_class(run: Run) -> list[tuple[str, float]]:
    """[(class, accuracy)], the worst first; classes without examples are left out."""
    values = run.details(CLASSIFIER, "per_class_accuracy") or []
    pairs = []
    for label, value in enumerate(values):
        if value is not None:
            pairs.append((run.class_name(label), value))
    return sorted(pairs, key=lambda pair: pair[1])
