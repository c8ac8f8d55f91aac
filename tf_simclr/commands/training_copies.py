"""Evaluated images that are near-copies of training images: they make the metrics too good."""

import numpy as np
from absl import logging

from tf_simclr.commands.image_set import decoded
from tf_simclr.config.splits import overlap
from tf_simclr.curation import near_copies, picture_match
from tf_simclr.data import image_sizes
from tf_simclr.data.source import Source, counted
from tf_simclr.evaluation.network_features import EvaluationData, NetworkFeatures
from tf_simclr.evaluation.report_images import main_layer
from tf_simclr.report import image_bits

MAX_COMPARED = 2000  # pairs of images; this many are decoded and compared in some seconds


def find(data: EvaluationData, features: NetworkFeatures) -> dict:
    """Counts the near-copies by the features of an evaluation; says so in the log.

    Args:
        data: what was evaluated on.
        features: of the trained network.

    Returns:
        {"training_copies": {"images": near-copies, "evaluated": images evaluated, "compared":
        training images with features, "skipped": pairs beyond `MAX_COMPARED`, among which may be
        more copies, "which": the copies, see `image_bits.pack`}} for results.json; empty without
        training images, for images that are the training images themselves, and for images too
        small to be compared.
    """
    if features.train is None or _is_same_split(data) or not _can_be_compared(data.test):
        return {}
    layer = main_layer(features)
    train, test = features.train, features.test
    if not (np.isfinite(train[layer]).all() and np.isfinite(test[layer]).all()):
        return {}  # the evaluations say so
    pairs = near_copies.copies_of(
        test[layer],
        _thumbnails_of(data.test, test["position"]),
        train[layer],
        _thumbnails_of(data.train, train["position"]),
        MAX_COMPARED,
    )
    is_copy = np.zeros(len(test["label"]), bool)
    is_copy[pairs.first] = True
    counts = {
        "images": int(is_copy.sum()),
        "evaluated": len(is_copy),
        "compared": len(train["label"]),
        "skipped": pairs.skipped,
        "which": image_bits.pack(is_copy, test["label"]),
    }
    if len(pairs):
        evaluated = data.test.names_of(test["position"][pairs.first[:1]])
        trained = data.train.names_of(train["position"][pairs.second[:1]])
        _warn(counts, evaluated[0], trained[0])
    return {"training_copies": counts}


def _warn(counts, evaluated, trained):
    """Says how many copies there are, with an example."""
    at_least = "at least " if counts["skipped"] else ""
    logging.warning(
        "%s%s of %d evaluated are near-copies of training images, e.g. %s of %s; --mode=inspect "
        "lists all of them and the accuracy without them",
        at_least,
        counted(counts["images"], "image"),
        counts["evaluated"],
        evaluated,
        trained,
    )


def _is_same_split(data):
    is_same_name = data.train.name == data.test.name
    return is_same_name and overlap(data.train.split, data.test.split)


def _can_be_compared(source: Source):
    smaller_sides = image_sizes.sizes_of(source, seed=0).min(1, initial=np.iinfo(int).max)
    return len(smaller_sides) and np.median(smaller_sides) >= picture_match.MIN_IMAGE_SIDE


def _thumbnails_of(source, positions):
    """A function: numbers int64 [n], ascending -> gray thumbnails of these examples."""

    def thumbnails(numbers):
        images = decoded(source, positions[numbers])
        return np.stack([picture_match.gray_thumbnail(image) for image in images])

    return thumbnails
