"""Images that are in two sources at once: exact copies, by content."""

import os
import pathlib

import numpy as np

from tf_simclr.data import scan_cache
from tf_simclr.data.folder_images import paths_of
from tf_simclr.data.indexed_source import Indexed


def between(first: Indexed, second: Indexed) -> list[tuple[str, str]]:
    """The images of the second source that the first one has as well.

    Args:
        first: where they are looked for.
        second: whose images are looked for.

    Returns:
        [(name in the first, name in the second)].
    """
    first_names, _ = first.example_ids()
    second_names, _ = second.example_ids()
    name_of = dict(zip(digests(first), first_names))
    pairs = []
    for digest, name in zip(digests(second), second_names):
        if digest and digest in name_of:
            pairs.append((str(name_of[digest]), str(name)))
    return pairs


def without_copies_in_the_rest(source: Indexed, index: np.ndarray) -> np.ndarray:
    """Those of the images `index` (int64 [n]) of which no copy is among the others.

    Args:
        source: of folders; images of other data sets are taken as they are.
        index: of the images.
    """
    if source.facts is None:
        return index
    digest_of = digests(source)
    rest = np.setdiff1d(np.arange(source.num_examples), index)
    others = {digest_of[i] for i in rest}
    return np.array([i for i in index if digest_of[i] not in others - {""}], np.int64)


def duplicates(source: Indexed, is_preferred: np.ndarray) -> np.ndarray:
    """Which images have the content of one that is preferred, or that comes before them.

    Args:
        source: of the images.
        is_preferred: bool [N]; these are no duplicates.

    Returns:
        bool [N].
    """
    contents = np.array(digests(source))
    order = np.argsort(~is_preferred, kind="stable")  # the preferred ones first
    _, first_places = np.unique(contents[order], return_index=True)
    is_duplicate = np.ones(len(contents), bool)
    is_duplicate[order[first_places]] = False
    is_known = contents != ""  # files that are gone have no content
    return is_duplicate & is_known & ~is_preferred


def digests(source: Indexed) -> list[str]:
    """The hash of each image's file, as far as it is known, else of its content.

    It is empty for a file that is gone.
    """
    contents = _content_digests(source)
    if source.facts is None or not source.facts.digests:
        return contents
    names, _ = source.example_ids()
    return [source.facts.digests.get(name, digest) for name, digest in zip(names, contents)]


def _content_digests(source):
    if not source.by_path:
        return [scan_cache.content_digest(bytes(record)) for record in source.records]
    digest_of_path = {}
    for root in paths_of(source.name):
        folder = root if os.path.isdir(root) else os.path.dirname(root)
        paths = [path for path in source.records.tolist() if path.startswith(folder)]
        digest_of_path.update(zip(paths, scan_cache.digests(folder, paths)))
    return [
        digest_of_path[path] if path in digest_of_path else _file_digest(path)
        for path in source.records.tolist()
    ]


def _file_digest(path):
    """The hash of a file outside of the folders: of a list of files, or converted."""
    try:
        return scan_cache.content_digest(pathlib.Path(path).read_bytes())
    except OSError:
        return ""
