"""Labelled and unlabelled images in one batch: which sources, and how many images of each."""

import dataclasses

import numpy as np

from tf_simclr.config.values import MAX_INT32
from tf_simclr.data import image_folder
from tf_simclr.data.source import UNLABELED, Source
from tf_simclr.errors import Failed, UserError


@dataclasses.dataclass(frozen=True)
class BatchPart:
    """`batch_size` images of `source` in every batch, over all replicas.

    `constants`: what was computed of each example before the training, [N, ...]; None: nothing.
    """

    source: Source
    batch_size: int
    constants: np.ndarray | None = None


def batch_parts(source, unlabeled, ratio, batch_size, replicas):
    """The parts that every batch is made of.

    Args:
        source: labelled images, or some with and some without label. unlabeled: further images without label, or None.
        ratio: images without label for each labelled one; 0: as many of each as there are, which in one source alone
            is left to chance.
        batch_size: over all replicas, each of which gets the same share of each part.

    Raises:
        UserError: nothing to mix, or a batch too small for it.
    """
    if not ratio:
        sources = [source] if unlabeled is None else [source, unlabeled]
        weights = [s.num_examples for s in sources]
    else:
        rest = [
            s
            for s in (source.labeled(has_label=False), unlabeled)
            if s is not None and s.num_examples
        ]
        if not (source.num_labeled and rest):
            raise UserError(
                f"--unlabeled_ratio={ratio:g}: images with and without label are needed, and there are {source.num_labeled} with and "
                f"{sum(s.num_examples for s in rest)} without; see --label_fraction, --unlabeled_dataset and, of exemplar, --seed_images"
            )
        sources, total = [source.labeled(), *rest], sum(s.num_examples for s in rest)
        weights = [1.0, *(ratio * s.num_examples / total for s in rest)]
    per_replica = _shares(batch_size // replicas, weights)
    if 0 in per_replica:
        share = min(weights) / sum(weights)
        if share * MAX_INT32 < replicas:
            raise UserError(
                f"--unlabeled_ratio={ratio:g}: no batch is large enough for so small a share; give 0, or more"
            )
        least = replicas * int(np.ceil(1 / share))
        raise UserError(
            f"--train_batch_size={batch_size}: too few for {' : '.join(f'{weight:g}' for weight in weights)} images of each kind on each of "
            f"{replicas} replicas; --train_batch_size={least} is enough"
        )
    return [BatchPart(s, share * replicas) for s, share in zip(sources, per_replica)]


def _shares(total, weights):
    """`total` split in proportion to `weights`, in whole numbers."""
    ends = np.rint(np.cumsum(weights) / np.sum(weights) * total).astype(int)
    return np.diff(ends, prepend=0).tolist()


def without_unreadable(parts):
    """Looks at all image files that are read while training.

    Returns:
        (the parts, in which the next readable image stands in for each that can't be read any more, without a label;
        [(name, reason)] of those).

    Raises:
        Failed: none of the images of a part is left.
    """
    lost, found = [], []
    for part, (bad, here) in zip(parts, unreadable([part.source for part in parts])):
        lost += here
        if len(bad) and bad.all():
            raise Failed(
                f"{part.source.name}: none of its {len(bad)} images can be read any more, e.g. {lost[-1][0]}: {lost[-1][1]}"
            )
        found.append(_replaced(part, bad) if bad.any() else part)
    return found, lost


def unreadable(sources):
    """For each source (bool [N], which images can't be read; [(name, reason)] of them); only files that are read when they are needed are looked at, each once."""
    paths = list(
        {path: None for source in sources if source.by_path for path in source.records.tolist()}
    )
    reasons = (
        dict(
            zip(
                paths,
                image_folder.problems_of(paths, "looking for images that can't be read any more"),
            )
        )
        if paths
        else {}
    )
    found = []
    for source in sources:
        mine = [reasons[path] for path in source.records.tolist()] if source.by_path else []
        bad = np.array([bool(reason) for reason in mine], bool)
        found.append((bad, list(zip(source.names_of(np.flatnonzero(bad)), filter(None, mine)))))
    return found


def _replaced(part, bad):
    index, good = np.arange(len(bad)), np.flatnonzero(~bad)
    index[bad] = good[np.searchsorted(good, index[bad]) % len(good)]
    source = part.source
    replaced = dataclasses.replace(
        source, records=source.records[index], labels=np.where(bad, UNLABELED, source.labels)
    )
    return dataclasses.replace(
        part, source=replaced, constants=None if part.constants is None else part.constants[index]
    )
