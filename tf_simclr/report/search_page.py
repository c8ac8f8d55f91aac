"""Images with compact features -> one HTML page that finds what is most like any of them."""

import base64
import dataclasses
from collections.abc import Sequence

import numpy as np

from tf_simclr.report import templates


@dataclasses.dataclass(frozen=True)
class Query:
    """An image with which the page begins.

    Attributes:
        image: its number among all images of the page.
        neighbors: int64 [k], numbers of the most similar images, the most similar first.
        cosines: [k], of the full features.
    """

    image: int
    neighbors: np.ndarray
    cosines: np.ndarray


@dataclasses.dataclass(frozen=True)
class Thumbnails:
    """Small images in sheets.

    Attributes:
        sheets: JPEGs of at most `columns` x `columns` squares each.
        columns: squares side by side.
        size: side of a square in pixels.
        shapes: int [N, 2], width and height of each image in its square; 0: there is no image.
    """

    sheets: list[bytes]
    columns: int
    size: int
    shapes: np.ndarray


@dataclasses.dataclass(frozen=True)
class Images:
    """The images of a page; the last ones may be queries that are not in the set.

    Attributes:
        names: [N], as --labels takes them.
        labels: [N], the class, "" if unknown.
        features: int8 [N, D].
        rests: int64 [N], the squared length of what the features leave out.
        step: of the features.
        count: how many of them are in the set.
        thumbnails: of all of them.
    """

    names: Sequence[str]
    labels: Sequence[str]
    features: np.ndarray
    rests: np.ndarray
    step: float
    count: int
    thumbnails: Thumbnails


def render(
    images: Images,
    queries: Sequence[Query],
    notes: Sequence[str] = (),
    *,
    known: dict[str, str],
    splits: dict[str, str] | None = None,
) -> str:
    """The text of the page.

    Args:
        images: all that the page can find.
        queries: with which it begins.
        notes: lines on what is in it.
        known: see `label_page.render`; also of images that are not in this page.
        splits: see `label_page.render`.
    """
    classes = sorted(set(images.labels) - {""})
    number_of = {name: number for number, name in enumerate(classes)} | {"": -1}
    thumbnails = images.thumbnails
    content = {
        "names": list(images.names),
        "classes": classes,
        "labels": [number_of[label] for label in images.labels],
        "features": base64.b64encode(images.features.tobytes()).decode(),
        "rests": images.rests.tolist(),
        "dimensions": images.features.shape[1],
        "step": images.step,
        "count": images.count,
        "known": list(known.items()),
        "columns": thumbnails.columns,
        "size": thumbnails.size,
        "shapes": thumbnails.shapes.ravel().tolist(),
        "queries": [_query_entry(query) for query in queries],
        "splits": splits and list(splits.items()),
    }
    return templates.render(
        "search_page.html",
        content=content,
        sheets=[templates.data_uri(sheet) for sheet in thumbnails.sheets],
        notes=notes,
    )


def _query_entry(query):
    cosines = [round(float(cosine), 4) for cosine in query.cosines]
    return {
        "image": int(query.image),
        "neighbors": [int(number) for number in query.neighbors],
        "cosines": cosines,
    }
