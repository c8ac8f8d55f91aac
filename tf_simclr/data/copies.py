"""Images that are in two sources at once: exact copies, by content."""

import os

import numpy as np

from tf_simclr.data import scan_cache
from tf_simclr.data.folder_images import paths_of
from tf_simclr.data.source import Indexed


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
    name_of = dict(zip(_digests(first), first_names))
    pairs = []
    for digest, name in zip(_digests(second), second_names):
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
    digests = _digests(source)
    rest = np.setdiff1d(np.arange(source.num_examples), index)
    others = {digests[i] for i in rest}
    return np.array([i for i in index if digests[i] not in others], np.int64)


def _digests(source):
    """The hash of each image's content."""
    if not source.by_path:
        return [scan_cache.content_digest(bytes(record)) for record in source.records]
    digests = {}
    for root in paths_of(source.name):
        folder = root if os.path.isdir(root) else os.path.dirname(root)
        paths = [path for path in source.records.tolist() if path.startswith(folder)]
        digests.update(zip(paths, scan_cache.digests(folder, paths)))
    return [digests.get(path, "") for path in source.records.tolist()]
