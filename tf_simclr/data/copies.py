"""Images that are in two sources at once: exact copies, by content."""

import numpy as np

from tf_simclr.config.values import directory_of, folders_of
from tf_simclr.data import scan_cache
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
    others = {digest_of[i] for i in rest} - {""}
    return np.array([i for i in index if digest_of[i] not in others], np.int64)


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
    known = source.facts.digests if source.facts is not None else {}
    names, _ = source.example_ids()
    is_unknown = np.array([name not in known for name in names], bool)
    contents = iter(_content_digests(source, np.flatnonzero(is_unknown)))
    return [known[name] if name in known else next(contents) for name in names]


def _content_digests(source, index):
    """The hashes of some of the records, or of the files that they name."""
    records = [source.records[position] for position in index]
    if not source.by_path:
        return [scan_cache.content_digest(bytes(record)) for record in records]
    records = list(map(str, records))
    digest_of_path = {}
    folders = list(map(directory_of, folders_of(source.name)))
    for folder in folders:
        paths = [path for path in records if path.startswith(folder)]
        digest_of_path.update(zip(paths, scan_cache.digests(folder, paths)))
    # Of lists of files, or converted: they are kept with the first folder.
    elsewhere = [path for path in records if path not in digest_of_path]
    digest_of_path.update(zip(elsewhere, scan_cache.digests(folders[0], elsewhere)))
    return [digest_of_path[path] for path in records]
