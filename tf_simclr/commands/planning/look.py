"""A look at the images that are planned for."""

import numpy as np
import tensorflow as tf

from tf_simclr.commands.image_set import decoded
from tf_simclr.commands.planning.facts import Facts, are_drawn, are_gray
from tf_simclr.config import Config
from tf_simclr.data.image_sizes import sizes_of
from tf_simclr.data.source import Source, count_labels

MAX_DECODED = 64  # images whose colors are looked at
THUMBNAIL = 32  # pixels that these are brought to


def facts_of(settings: Config, source: Source, eval_source: Source) -> Facts:
    """Looks at the images of a training.

    Args:
        settings: the whole configuration.
        source: what is trained on.
        eval_source: what is evaluated on.
    """
    sizes = sizes_of(source, settings.train.seed)
    images = _some_images(source, settings.train.seed)
    return Facts(
        num_images=source.num_examples,
        num_labels=source.num_labeled,
        class_counts=_class_counts(source),
        num_evaluated=eval_source.num_examples,
        short_side=int(np.median(sizes.min(axis=1))) if len(sizes) else THUMBNAIL,
        is_gray=are_gray(images),
        is_drawn=are_drawn(images),
    )


def _class_counts(source):
    if not source.num_labeled:
        return ()
    _, labels = source.example_ids()
    return tuple(count_labels(labels, source.num_classes).tolist())


def _some_images(source, seed):
    """uint8 [N, S, S, 3]: small copies of a seeded draw, of a stream of the first ones."""
    some = source.at_most(MAX_DECODED, seed)
    copies = []
    for image in decoded(some, np.arange(some.num_examples)):
        small = tf.image.resize(image, (THUMBNAIL, THUMBNAIL), method="area")
        copies.append(tf.cast(small, tf.uint8).numpy())
    return np.stack(copies)
