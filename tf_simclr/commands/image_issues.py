"""What is wrong with the images of a set: the checks of `curation`, as issues of single images."""

import collections
import dataclasses
import hashlib

import numpy as np
from absl import logging

from tf_simclr.commands.image_set import ImageSet
from tf_simclr.console import Progress
from tf_simclr.curation import (
    doubtful_labels,
    image_quality,
    near_copies,
    neighbors,
    outliers,
    picture_match,
)
from tf_simclr.data.source import UNLABELED

NOBODY = -1  # the position of an image that there is not


@dataclasses.dataclass(frozen=True)
class Issue:
    """What is wrong with an image.

    Attributes:
        position: of the image; NOBODY: the issue is of classes or of a file without an image.
        score: how much it is, see docs/labelling.md.
        suggestion: what to do.
        other: position of another image that it is about, or NOBODY.
        file: what is wrong where there is no image.
        other_file: likewise.
    """

    position: int
    score: float
    suggestion: str
    other: int = NOBODY
    file: str = ""
    other_file: str = ""


@dataclasses.dataclass(frozen=True)
class Pictures:
    """What the pixels of the images say.

    Attributes:
        contents: [N] texts, equal for equal pixels.
        thumbnails: uint8 [N, 32, 32], gray.
        measures: float64 [N, 6], see `image_quality.measure`.
    """

    contents: np.ndarray
    thumbnails: np.ndarray
    measures: np.ndarray

    @property
    def can_be_compared(self) -> bool:
        """Whether most images are large enough to tell copies from pictures of a kind."""
        smaller_sides = self.measures[:, :2].min(1)
        return np.median(smaller_sides) >= picture_match.MIN_IMAGE_SIDE


def look_at(images: ImageSet) -> Pictures:
    """Decodes each image once."""
    contents, thumbnails, measures = [], [], []
    with Progress("looking at the images", len(images)) as progress:
        for _, image in images.images(np.arange(len(images))):
            shape = str(image.shape).encode()
            contents.append(hashlib.sha256(shape + image.tobytes()).hexdigest())
            thumbnails.append(picture_match.gray_thumbnail(image))
            measures.append(image_quality.measure(image))
            progress.update(1)
    return Pictures(np.array(contents), np.stack(thumbnails), np.stack(measures))


def find(images: ImageSet, pictures: Pictures) -> dict[str, list[Issue]]:
    """{name of the issue: the worst first} of all checks of single images and classes.

    Args:
        images: with the features of a network.
        pictures: of `look_at`.

    Raises:
        UserError: features that are not finite.
    """
    unit = neighbors.unit_features(images.features)
    similarity, nearest = neighbors.nearest_others(unit, near_copies.NUM_CANDIDATES)
    issues = {
        **_copies(images, pictures, nearest),
        "doubtful_label": _doubtful_labels(images),
        "outlier": _outliers(similarity[:, : outliers.NUM_NEIGHBORS], pictures),
        "overlapping_classes": _overlapping_classes(images, nearest),
    }
    for name, (positions, scores) in image_quality.find(pictures.measures).items():
        suggestion = image_quality.CHECKS[name].suggestion
        issues[name] = [
            Issue(int(position), float(score), suggestion)
            for position, score in zip(positions, scores)
        ]
    return issues


def _copies(images, pictures, nearest=None):
    """{"leak", "exact_copy", "near_copy"}: copies across the splits are leaks, of either kind."""
    exact = _exact_copies(pictures.contents, images.splits)
    near = near_copies.no_pairs()
    if pictures.can_be_compared:
        near = near_copies.find(images.features, pictures.thumbnails.__getitem__, nearest)
    else:
        logging.info(
            "near-copies are not looked for: images below %d pixels have too few details for it",
            picture_match.MIN_IMAGE_SIDE,
        )
    copies = [("exact_copy", *pair) for pair in exact.as_tuples()]
    copies += [("near_copy", *pair) for pair in near.as_tuples()]
    across = [copy for copy in copies if _is_across_splits(images, copy)]
    within = [copy for copy in copies if not _is_across_splits(images, copy)]
    issues = {"leak": _leaks(images, across), "exact_copy": [], "near_copy": []}
    is_done = {issue.position for issue in issues["leak"]}
    for name, first, second, similarity in within:
        if second not in is_done:
            is_done.add(second)
            text = _advice(images, first, second)
            issues[name].append(Issue(second, similarity, text, other=first))
    return issues


def _is_across_splits(images, copy):
    _, first, second, _ = copy
    return images.splits[first] != images.splits[second]


def _leaks(images, copies):
    """Issues in which every image is that has a copy in another split, for each such split."""
    leaks = []
    is_known = set()  # (image, split in which it has a copy)
    for _, first, second, similarity in copies:
        of_first = (first, images.splits[second])
        of_second = (second, images.splits[first])
        if is_known >= {of_first, of_second}:
            continue
        position, other = (first, second) if of_second in is_known else (second, first)
        is_known |= {of_first, of_second}
        text = _advice(images, other, position)
        leaks.append(Issue(position, similarity, text, other=other))
    return leaks


def _exact_copies(contents, splits):
    """Each image that has the pixels of an earlier one, with the first such image.

    That is one of another split where there is one, since such a copy is worse.
    """
    same_pixels = collections.defaultdict(list)
    for position, content in enumerate(contents):
        same_pixels[content].append(position)
    pairs = []
    for first, *others in same_pixels.values():
        elsewhere = [other for other in others if splits[other] != splits[first]]
        for second in others:
            is_beside_first = splits[second] == splits[first]
            pairs.append((elsewhere[0] if elsewhere and is_beside_first else first, second))
    pairs.sort(key=lambda pair: pair[1])
    first, second = np.array(pairs, np.int64).reshape(-1, 2).T
    return near_copies.Pairs(first, second, np.ones(len(pairs), np.float32))


def _advice(images, first, second):
    """What to do about an image that is a copy of an earlier one."""
    labels = images.labels[first], images.labels[second]
    if UNLABELED not in labels and labels[0] != labels[1]:
        first_class, second_class = (images.class_names[label] for label in labels)
        return f"decide which it is: {second_class} here, {first_class} there"
    if images.splits[first] != images.splits[second]:
        return f"remove it here or in {images.splits[first]}"
    return "keep one of them"


def _doubtful_labels(images):
    doubtful = doubtful_labels.find(images.features, images.labels)
    columns = doubtful.positions, doubtful.suggested, doubtful.confidence
    issues = []
    for position, suggested, confidence in zip(*columns):
        label = images.class_names[images.labels[position]]
        text = f"{label}, or {images.class_names[suggested]}?"
        issues.append(Issue(int(position), 1 - float(confidence), text))
    return issues


def _outliers(similarity, pictures):
    scores = outliers.scores(similarity)
    scores = np.maximum(scores, outliers.spectrum_scores(pictures.thumbnails))
    positions = np.flatnonzero(scores > outliers.THRESHOLD)
    positions = positions[np.argsort(-scores[positions], kind="stable")]
    text = "look whether it belongs to the set"
    return [Issue(int(position), float(scores[position]), text) for position in positions]


def _overlapping_classes(images, nearest):
    issues = []
    for first, second, overlap in doubtful_labels.overlaps(images.labels, nearest):
        names = images.class_names[first], images.class_names[second]
        text = "join them, or label what tells them from each other"
        issues.append(Issue(NOBODY, overlap, text, file=names[0], other_file=names[1]))
    return issues
