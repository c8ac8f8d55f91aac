"""Images that are in two sources at once: exact copies, by content."""

import os

from tf_simclr.data import scan_cache
from tf_simclr.data.folders import paths_of
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
