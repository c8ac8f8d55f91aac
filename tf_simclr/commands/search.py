"""Finds the images of a set that are most like some: search.csv and search.html."""

import collections
import contextlib
import dataclasses
import os

import numpy as np
from absl import logging
from sklearn.neighbors import NearestNeighbors

from tf_simclr import distribute
from tf_simclr.commands import search_page, search_set
from tf_simclr.commands.image_set import build_extractor, decoded, load_all, names_of
from tf_simclr.commands.known_labels import known_labels
from tf_simclr.commands.search_set import SearchSet
from tf_simclr.config import Config
from tf_simclr.config.values import folders_of
from tf_simclr.data import folders, single_files
from tf_simclr.errors import UserError, did_you_mean
from tf_simclr.evaluation.metrics import knn
from tf_simclr.evaluation.metrics.base import normalized
from tf_simclr.report import markdown_tables
from tf_simclr.report.evaluated import ENCODER_OUTPUT
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory

MAX_LOGGED = 5  # queries, and images of each, that are in the log
MAX_COMPARED = 5000  # names that a misspelled one is compared with
COLUMNS = ("query", "rank", "file", "split", "label", "cosine")


@dataclasses.dataclass(frozen=True)
class Query:
    """An image whose most similar ones are looked for.

    Attributes:
        name: as the user gave it.
        position: in the set; None: it is a file.
    """

    name: str
    position: int | None


@dataclasses.dataclass(frozen=True)
class Result:
    """What is most like a query.

    Attributes:
        query: the image.
        neighbors: int64 [k], positions in the set, the most similar first.
        cosines: float [k].
    """

    query: Query
    neighbors: np.ndarray
    cosines: np.ndarray


@dataclasses.dataclass(frozen=True)
class QueryFiles:
    """The queries that are files.

    Attributes:
        pictures: {path: uint8 [H, W, 3]}.
        features: float32 [Q, C].
    """

    pictures: dict[str, np.ndarray]
    features: np.ndarray


def search(settings: Config, alone: bool = True):
    """Writes search.csv and search.html into the run directory.

    Args:
        settings: the whole configuration.
        alone: whether it is a single run, not a stage of a chain.

    Raises:
        UserError: no weights, no images, a query that is neither an image of the set nor a file
            that can be read, embeddings of another network, a directory that can't be written to.
    """
    directory = RunDirectory(settings.train.model_dir)
    directory.create()  # now, not after the work
    search_in = _search_file if settings.search.embeddings else _search_dataset
    images, queries, files, is_chief = search_in(settings, alone)
    results = _nearest(queries, files, images, settings.search.search_count)
    if is_chief:
        logging.info("most similar images:\n\n%s\n", _table(results, images))
        known, splits = _known_labels(settings.data, images)
        page = search_page.render(
            results, images, files.pictures, files.features, known=known, splits=splits
        )
        _write(directory, results, images, page)


def _known_labels(data, images):
    """({name: class}, {name: split} or None) for the table of the page.

    Of embeddings whose images are gone since, those that were embedded; of numbered images not
    those whose number images of several splits have.
    """
    table = known = None
    with contextlib.suppress(UserError):
        table = folders.table_of(data.dataset, data.labels)
        known = known_labels(data, table)
    if known is None:
        names = images.names.tolist()
        times = collections.Counter(names)
        labels = zip(names, images.labels.tolist())
        known = {name: label for name, label in labels if label and times[name] == 1}
    return known, table and table.splits


def _search_dataset(settings, alone):
    """(set, queries, files, is_chief) where the images are embedded now."""
    extractor = build_extractor(settings, alone)
    sources = load_all(extractor)
    queries = _queries(settings, names_of(sources))
    # Before the work: one of them may be no image.
    source = _load_files(queries, extractor.data)
    images = search_set.compute(extractor, sources)
    files = _embed(source, extractor, images)
    return images, queries, files, distribute.is_chief(extractor.strategy)


def _search_file(settings, alone):
    """(set, queries, files, is_chief) of --embeddings; weights are needed for new files alone."""
    images = search_set.read(settings)
    queries = _queries(settings, images.names)
    if all(query.position is not None for query in queries):
        return images, queries, QueryFiles({}, images.features[:0]), True
    extractor = build_extractor(settings, alone)
    files = _embed(_load_files(queries, extractor.data), extractor, images)
    width, expected = files.features.shape[1], images.features.shape[1]
    if width != expected:
        raise UserError(
            f"--embeddings={settings.search.embeddings}: they have {expected} numbers an image and "
            f"these weights make {width}; give the weights that made them as --checkpoint, or "
            "leave --embeddings out"
        )
    return images, queries, files, distribute.is_chief(extractor.strategy)


def _queries(settings, names):
    text = settings.search.query
    is_single = text in names or os.path.isfile(text)  # names may have commas
    texts = [text] if is_single else text.split(",")
    queries = [os.path.expanduser(text if is_single else text.strip()) for text in texts]
    unique = dict.fromkeys(filter(None, queries))
    return [Query(name, _position(name, names, settings.data.dataset)) for name in unique]


def _position(name, names, dataset):
    """The position of a query in the set; None: it is another file."""
    candidates = [name]
    roots = folders_of(dataset)
    if len(roots) == 1 and os.path.isdir(roots[0]):
        candidates.append(os.path.relpath(name, roots[0]))  # its name, if it is in this folder
    for candidate in candidates:
        positions = np.flatnonzero(names == candidate)
        if len(positions) > 1:
            logging.warning(
                "--query=%s: %d images have this name, in several splits; taken is the first, see "
                "--embed_split",
                *(name, len(positions)),
            )
        if len(positions):
            return int(positions[0])
    if os.path.isfile(name):
        return None
    reason = "it is a folder" if os.path.isdir(name) else "no such file"
    raise UserError(
        f"--query={name}: {reason}, and no image of the set has this name; give paths of images, "
        f"or names such as {names[0]}.{did_you_mean(name, names[:MAX_COMPARED].tolist())}"
    )


def _load_files(queries, data):
    """The source of the queries that are files; None: there are none."""
    paths = [query.name for query in queries if query.position is None]
    return single_files.load(paths, data, "query") if paths else None


def _embed(source, extractor, images):
    if source is None:
        return QueryFiles({}, images.features[:0])
    pictures = decoded(source, np.arange(source.num_examples))
    arrays = extractor.compute(source, "queries")
    return QueryFiles(dict(zip(source.names(), pictures)), arrays[ENCODER_OUTPUT])


def _nearest(queries, files, images: SearchSet, count) -> list[Result]:
    unit = normalized(images.features)
    index = NearestNeighbors(algorithm="brute").fit(unit)
    of_files = iter(normalized(files.features))
    features = [
        next(of_files) if query.position is None else unit[query.position] for query in queries
    ]
    # One more than asked for: the query may be in the set itself.
    num_nearest = min(count + 1, len(images))
    similarity, neighbors = knn.nearest(index, np.array(features), num_nearest)
    results = []
    for query, positions, cosines in zip(queries, neighbors, similarity):
        others = np.flatnonzero(positions != query.position)[:count]
        results.append(Result(query, positions[others], cosines[others]))
    return results


def _table(results, images):
    """What is most like the first queries as a Markdown table."""
    nearest = []
    for result in results[:MAX_LOGGED]:
        names = [images.names[neighbor] for neighbor in result.neighbors[:MAX_LOGGED]]
        nearest.append((result.query.name, list(zip(names, result.cosines))))
    return markdown_tables.neighbors_table("query", nearest)


def _write(directory, results, images, page):
    lines = [COLUMNS]
    for result in results:
        for rank, (neighbor, cosine) in enumerate(zip(result.neighbors, result.cosines), 1):
            about = (images.names[neighbor], images.splits[neighbor], images.labels[neighbor])
            lines.append((result.query.name, rank, *about, f"{cosine:.4f}"))
    table = run_files.csv_text(lines, line_end="\r\n")
    contents = {run_files.SEARCH_TABLE: table, run_files.SEARCH_PAGE: page}
    for name, text in contents.items():
        directory.write_text(name, text)
    logging.info("%s: %s", directory.path, " and ".join(contents))
