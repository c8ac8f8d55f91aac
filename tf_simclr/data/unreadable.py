"""Images whose files vanish or break while a run reads them."""

import dataclasses

import numpy as np

from tf_simclr.data import image_folder
from tf_simclr.data.mixture import BatchPart
from tf_simclr.data.source import UNLABELED, Source
from tf_simclr.errors import Failed


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """The images of a source that can't be read any more.

    Attributes:
        mask: bool [N], which of all images; empty if they are not read from files.
        images: [(name, reason)] of them.
    """

    mask: np.ndarray
    images: list[tuple[str, str]]


def find_unreadable(sources: list[Source]) -> list[Unreadable]:
    """Looks at all files that are read when they are needed, each once.

    Returns:
        What is unreadable, for each source.
    """
    paths = []
    for source in sources:
        if source.by_path:
            paths += source.records.tolist()
    paths = list(dict.fromkeys(paths))
    reasons = {}
    if paths:
        problems = image_folder.problems_of(paths, "looking for images that can't be read any more")
        reasons = dict(zip(paths, problems))
    return [_of_source(source, reasons) for source in sources]


def _of_source(source, reasons):
    if not source.by_path:
        return Unreadable(np.array([], bool), [])
    source_reasons = [reasons[path] for path in source.records.tolist()]
    mask = np.array([bool(reason) for reason in source_reasons], bool)
    names = source.names_of(np.flatnonzero(mask))
    images = list(zip(names, filter(None, source_reasons)))
    return Unreadable(mask, images)


def replace_unreadable(
    batch_parts: list[BatchPart],
) -> tuple[list[BatchPart], list[tuple[str, str]]]:
    """Replaces images that can't be read any more by the next readable one, without its label.

    Args:
        batch_parts: what every batch is made of.

    Returns:
        (the parts, [(name, reason)] of the images that were replaced).

    Raises:
        Failed: none of the images of a part is left.
    """
    images, replaced = [], []
    unreadable_of_parts = find_unreadable([part.source for part in batch_parts])
    for part, unreadable in zip(batch_parts, unreadable_of_parts):
        images += unreadable.images
        mask = unreadable.mask
        if len(mask) and mask.all():
            name, reason = images[-1]
            raise Failed(
                f"{part.source.name}: none of its {len(mask)} images can be read any more, "
                f"e.g. {name}: {reason}"
            )
        replaced.append(_replace(part, mask) if mask.any() else part)
    return replaced, images


def _replace(part, mask):
    index = np.arange(len(mask))
    readable = np.flatnonzero(~mask)
    next_readable = np.searchsorted(readable, index[mask]) % len(readable)
    index[mask] = readable[next_readable]
    source = part.source
    source = dataclasses.replace(
        source,
        records=source.records[index],
        labels=np.where(mask, UNLABELED, source.labels),
    )
    constants = None if part.constants is None else part.constants[index]
    return dataclasses.replace(part, source=source, constants=constants)
