"""What the page shows of images: the map, the neighbours, the mistakes, the confusions."""

import dataclasses
import heapq

import numpy as np

NUM_COLORS, NUM_SHAPES = 10, 6
MOST_CELLS = 20  # classes up to which a confusion matrix is a table with numbers
TOP_PAIRS = 10


@dataclasses.dataclass(frozen=True)
class Thumb:
    """One image: its place in the sheet, the class "right", "wrong" or "" of its border, what it is in words and what stands beneath."""

    x: int
    y: int
    words: str
    verdict: str = ""
    beneath: str = ""


def _thumb(run, index, words, verdict="", beneath=""):
    return Thumb(*run.images.place(index), words, verdict, beneath)


def describe(run, index):
    """An image in words: name, class, what it was taken for."""
    images = run.get("images")
    label, predicted = images["labels"][index], images["predicted"][index]
    parts = [images["names"][index]]
    if label >= 0:
        parts.append(f"class {run.class_name(label)}")
    if predicted is not None:
        verdict = "" if label < 0 else ", right" if predicted == label else ", wrong"
        parts.append(f"predicted {run.class_name(predicted)}{verdict}")
    return " · ".join(parts)


@dataclasses.dataclass(frozen=True)
class Point:
    """One image on the map. pca, tsne: "x,y" in percent of its height and width."""

    image: int
    label: int
    shape: int
    color: int | None
    pca: str
    tsne: str
    words: str


def points(run):
    """The `Point`s of a run's map, empty without one or without the images it is of."""
    where = run.get("map")
    if not where or not run.get("images"):
        return []
    labels = [run.get("images")["labels"][index] for index in where["images"]]
    pca = _fitted(where["pca"])
    tsne = _fitted(where["tsne"]) if "tsne" in where else pca
    return [
        Point(index, label, *look(label), a, b, describe(run, index))
        for index, label, a, b in zip(where["images"], labels, pca, tsne)
    ]


def look(label):
    """(shape, colour) of a class: a pair for each of 60, then again; colours next to each other have different shapes."""
    return (
        (0, None) if label < 0 else ((label + label // NUM_COLORS) % NUM_SHAPES, label % NUM_COLORS)
    )


def legend(run):
    """[(label, shape, colour, name)] of the classes on a run's map."""
    labels = sorted({point.label for point in points(run)})
    return [
        (label, *look(label), run.class_name(label) if label >= 0 else "unknown")
        for label in labels
    ]


def _fitted(found):
    """Points moved and scaled alike in both directions, into 3 to 97."""
    if not found:
        return []
    xs, ys = zip(*found)
    size = max(max(xs) - min(xs), max(ys) - min(ys)) or 1
    x, y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    return [f"{50 + 94 * (a - x) / size:.1f}px,{50 - 94 * (b - y) / size:.1f}px" for a, b in found]


def neighbors(run):
    """[(the query's `Thumb`, those of its neighbours)], empty where there are no images to show."""
    if not run.images:
        return []
    return [
        (
            _thumb(
                run,
                row["query"],
                f"query: {describe(run, row['query'])}",
                beneath=_class(run, row["query"]),
            ),
            [
                _neighbor(run, row["query"], *pair)
                for pair in zip(row["neighbors"], row["similarity"])
            ],
        )
        for row in run.get("neighbors") or []
    ]


def _neighbor(run, query, index, similarity):
    mine, theirs = run.get("images")["labels"][query], run.get("images")["labels"][index]
    verdict = "" if mine < 0 or theirs < 0 else "right" if mine == theirs else "wrong"
    same = {"right": ", the same class", "wrong": ", another class", "": ""}[verdict]
    return _thumb(
        run,
        index,
        f"{describe(run, index)}, similarity {similarity:.2f}{same}",
        verdict,
        f"{similarity:.2f}",
    )


def _class(run, index):
    label = run.get("images")["labels"][index]
    return run.class_name(label) if label >= 0 else ""


def mistakes(run):
    """[(Thumb, right class, predicted class, confidence as text)], the most confident ones first."""
    if not run.images:
        return []
    return [
        (
            _thumb(run, one["image"], describe(run, one["image"]), "wrong"),
            run.class_name(one["label"]),
            run.class_name(one["predicted"]),
            f"{one['confidence']:.1%}",
        )
        for one in run.get("mistakes") or []
    ]


def views(run):
    """Rows of the places of an image and its views."""
    return (
        [[(x, y) for x in range(run.views.columns)] for y in range(run.views.rows)]
        if run.views
        else []
    )


def confusion(run):
    """Rows (class, [(count, share of the row, in words)]) of a matrix small enough for a table."""
    matrix = run.details("classifier", "confusion")
    if not matrix or len(matrix) > MOST_CELLS:
        return []
    return [
        (run.class_name(row), [(count, round(count / max(sum(counts), 1), 3)) for count in counts])
        for row, counts in enumerate(matrix)
    ]


def shares(run):
    """A larger confusion matrix, each row divided by its sum; None for a small one."""
    matrix = np.array(run.details("classifier", "confusion") or [])
    return (
        matrix / np.maximum(matrix.sum(1, keepdims=True), 1) if len(matrix) > MOST_CELLS else None
    )


def confused(run):
    """[(right class, predicted class, count, share of the class)] of the pairs that are confused most."""
    matrix = run.details("classifier", "confusion") or []
    pairs = (
        (count, row, column)
        for row, counts in enumerate(matrix)
        for column, count in enumerate(counts)
        if count and row != column
    )
    most = heapq.nsmallest(TOP_PAIRS, pairs, key=lambda pair: (-pair[0], pair[1:]))
    return [
        (run.class_name(row), run.class_name(column), count, f"{count / sum(matrix[row]):.1%}")
        for count, row, column in most
    ]


def per_class(run):
    """[(class, accuracy)], the worst first; classes without examples are left out."""
    values = run.details("classifier", "per_class_accuracy") or []
    return sorted(
        ((run.class_name(label), value) for label, value in enumerate(values) if value is not None),
        key=lambda pair: pair[1],
    )
