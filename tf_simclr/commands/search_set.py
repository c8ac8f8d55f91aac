"""What --mode=search searches: images that are embedded now, or that were embedded before."""

import collections
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from absl import logging

from tf_simclr.commands import embedding_file
from tf_simclr.commands.image_set import Extractor, compute_image_set, decoded
from tf_simclr.config import Config
from tf_simclr.data import datasets
from tf_simclr.data.source import Source, as_text
from tf_simclr.errors import UserError


@dataclasses.dataclass(frozen=True)
class SearchSet:
    """Images with features.

    Attributes:
        names: [N] texts, what the user knows them by.
        splits: [N] texts, "" if unknown.
        labels: [N] texts, the class, "" if unknown.
        features: float32 [N, C].
        pictures: a function of positions (int64 [n]) that yields (position, uint8 [H, W, 3]) of
            those whose image is there.
    """

    names: np.ndarray
    splits: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    pictures: Callable[[np.ndarray], Iterator[tuple[int, np.ndarray]]]

    def __len__(self):
        return len(self.names)


def compute(extractor: Extractor, sources: list[Source]) -> SearchSet:
    """Embeds the images of some splits.

    Args:
        extractor: the network.
        sources: the splits of one data set.

    Raises:
        UserError: features that are not finite.
    """
    images = compute_image_set(extractor, sources, "embedding")
    about = images.names, images.splits, images.label_texts
    return _checked(SearchSet(*about, images.features, images.images))


def read(settings: Config) -> SearchSet:
    """The images of --embeddings; their pictures are those of --dataset that are still there.

    Args:
        settings: the whole configuration.

    Raises:
        UserError: the file can't be read.
    """
    path, split = settings.search.embeddings, settings.embed.embed_split
    embeddings = embedding_file.read(path, split)
    names, splits = embeddings.names, embeddings.splits
    pictures = _Pictures(settings, names, splits)
    logging.info(
        "%s: %d images, of which %d are in %s",
        *(path, len(names), len(pictures), settings.data.dataset),
    )
    return _checked(SearchSet(names, splits, embeddings.labels, embeddings.features, pictures))


def _checked(images):
    is_finite = np.isfinite(images.features).all(1)
    if is_finite.all():
        return images
    example = images.names[np.flatnonzero(~is_finite)[0]]
    raise UserError(
        f"--mode=search: the features of {np.sum(~is_finite)} of {len(images)} images are not "
        f"finite, e.g. {example}: the weights are of a training that has diverged; give others"
    )


class _Pictures:
    """The images of a data set that have the names of those in a file.

    Args:
        settings: the whole configuration.
        names: [N] texts.
        splits: [N] texts.
    """

    def __init__(self, settings, names, splits):
        self._sources = _sources(settings)
        tables = [_positions(source, splits) for source in self._sources]
        self._rows = collections.defaultdict(dict)  # {source: {position in it: row}}
        for row, (name, split) in enumerate(zip(names, splits)):
            numbers = [number for number, table in enumerate(tables) if name in table]
            same = [number for number in numbers if self._sources[number].split == split]
            for number in (same or numbers)[:1]:
                self._rows[number][tables[number][name]] = row

    def __len__(self):
        return sum(map(len, self._rows.values()))

    def __call__(self, index):
        wanted = set(index.tolist())
        for number, row_of in self._rows.items():
            source = self._sources[number]
            positions = sorted(position for position, row in row_of.items() if row in wanted)
            images = decoded(source, np.array(positions, np.int64))
            for position, image in zip(positions, images):
                yield row_of[position], image


def _sources(settings):
    """The splits of --dataset; none if it is not there any more."""
    try:
        return [make() for make in datasets.splits(settings.data).values()]
    except UserError as error:
        logging.warning("search.html has names instead of images: %s", error)
        return []


def _positions(source, splits):
    """{name: position} of a source; numbers are names only in a split of the same size."""
    ids, _ = source.example_ids()
    are_numbers = np.issubdtype(ids.dtype, np.number)
    if are_numbers and np.sum(splits == source.split) != source.num_examples:
        return {}
    return {as_text(name): position for position, name in enumerate(ids)}
