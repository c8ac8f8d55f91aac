"""What --mode=search has found -> search.html."""

import numpy as np
from absl import logging

from tf_simclr.commands.search_set import SearchSet
from tf_simclr.config.automatic import SMALL_SIZE
from tf_simclr.console import Progress
from tf_simclr.data import thumbnails
from tf_simclr.evaluation import compact_features
from tf_simclr.evaluation.metrics.base import normalized
from tf_simclr.report import search_page
from tf_simclr.report.search_page import Images, Query, Thumbnails

MAX_IMAGES = 20_000  # in a page
SIDES = {2_000: 128, MAX_IMAGES: 64}  # {up to this many images: side of a thumbnail in pixels}
NUM_COLUMNS = 16  # of a sheet; small ones are decoded when they are seen


def render(
    results: list,
    images: SearchSet,
    pictures: dict[str, np.ndarray],
    file_features: np.ndarray,
    *,
    known: dict[str, str],
    splits: dict[str, str] | None = None,
) -> str:
    """The text of the page: all images, or of a large set those that were found.

    Args:
        results: a `search.Result` for each query.
        images: the set.
        pictures: {path: uint8 [H, W, 3]} of the queries that are files.
        file_features: float32 [Q, C] of these files.
        known: see `report.label_page.render`.
        splits: likewise.
    """
    is_all = len(images) + len(pictures) <= MAX_IMAGES
    index = np.arange(len(images)) if is_all else _found_images(results)
    features = np.concatenate([normalized(images.features[index]), normalized(file_features)])
    compact = compact_features.compact(features)
    agreement = compact_features.agreement(features, compact)
    decoded = _decoded(images, index, pictures, len(features))
    names = [*images.names[index].tolist(), *pictures]
    labels = [*images.labels[index].tolist(), *[""] * len(pictures)]
    page_images = Images(
        names=names,
        labels=labels,
        features=compact.values,
        rests=compact.rests,
        step=compact.step,
        count=len(index),
        thumbnails=_sheets(decoded, len(features)),
    )
    notes = _notes(images, index, is_all, agreement, compact.values.shape[1])
    for note in notes:
        logging.info("search.html: %s", note)
    queries = _queries(results, index, list(pictures))
    return search_page.render(page_images, queries, notes, known=known, splits=splits)


def _found_images(results):
    """Positions of all images that were found, and of the queries among them."""
    positions = [result.neighbors for result in results]
    positions += [[result.query.position] for result in results]
    known = [position for position in np.concatenate(positions) if position is not None]
    return np.unique(np.array(known, np.int64))


def _queries(results, index, files):
    queries = []
    for result in results:
        name, position = result.query.name, result.query.position
        if position is None:
            number = len(index) + files.index(name)
        else:
            number = np.searchsorted(index, position)
        neighbors = np.searchsorted(index, result.neighbors)
        queries.append(Query(number, neighbors, result.cosines))
    return queries


def _notes(images, index, is_all, agreement, num_dimensions):
    notes = []
    if not is_all:
        notes.append(
            f"the {len(index)} images that were found of {len(images)}: a page has at most "
            f"{MAX_IMAGES}; give the name of any of them as --query to search the whole set again"
        )
    notes.append(
        f"what is found after a click is found by {num_dimensions} numbers of one byte an image; "
        f"{agreement:.0%} of the ten nearest are those by all features"
    )
    return notes


def _decoded(images, index, pictures, count):
    """Yields (number in the page, uint8 [H, W, 3]) of all images that are there."""
    with Progress("thumbnails", count) as progress:
        for position, image in images.pictures(index):
            progress.update(1)
            yield int(np.searchsorted(index, position)), image
        for number, image in enumerate(pictures.values(), len(index)):
            progress.update(1)
            yield number, image


def _sheets(decoded, count):
    """The thumbnails of `count` images, of which `decoded` yields those that are there."""
    fitting = [side for most, side in SIDES.items() if count <= most]
    side = max(fitting, default=min(SIDES.values()))
    small = dict(_resized(decoded, side))
    shapes = np.zeros([count, 2], np.int64)
    for number, thumbnail in small.items():
        shapes[number] = thumbnail.size
    if shapes.max() <= SMALL_SIZE:
        side = SMALL_SIZE
    per_sheet = NUM_COLUMNS**2
    blank = thumbnails.resize(np.zeros([1, 1, 3], np.uint8), 1)
    sheets = []
    for first in range(0, count, per_sheet):
        numbers = range(first, min(first + per_sheet, count))
        cells = [small.get(number, blank) for number in numbers]
        sheets.append(thumbnails.encode_sheet(cells, side, NUM_COLUMNS))
    return Thumbnails(sheets, NUM_COLUMNS, side, shapes)


def _resized(decoded, side):
    for number, image in decoded:
        is_small = max(image.shape[:2]) <= SMALL_SIZE
        yield number, thumbnails.resize(image, SMALL_SIZE if is_small else side)
