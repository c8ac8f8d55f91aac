"""A network and a source -> arrays."""

import numpy as np
import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.console import Progress
from tf_simclr.data import augment, color, pipeline
from tf_simclr.data.image import DecodedImage
from tf_simclr.data.source import UNLABELED
from tf_simclr.evaluation.feature_store import in_memory

PIXELS = "pixels"  # the name of images as they are, among layers
PIXELS_SIZE = 16  # they are reduced to at most so many a side; on CIFAR-10 a probe reads as much from them as from all 32


def feature_mapper(function, example, batch_size, strategy):
    """A function that applies `function` to all examples of a source; compiled once for all sources.

    Args:
        function: the batched "image" of `example`, mostly images [B, S, S, 3] -> {name: tensor [B, ...]}. example: (image, label) -> {"image", "label"}.

    Returns:
        A function (source, name of the work for the progress, make, batches) -> {"label": int64 [N], and for each name: float32 [N, ...]},
        in the order of the source. make: (name, shape, dtype) -> the array that is filled. batches: `pipeline.evaluation` of the source, for
        one that comes again and again.
    """

    def replica_step(batch):
        outputs = {
            name: tf.cast(value, tf.float32) for name, value in function(batch["image"]).items()
        }
        return {**{name: batch[name] for name in ("label", "weight", "position")}, **outputs}

    @tf.function(autograph=False)
    def step(batch):
        return strategy.run(replica_step, args=(batch,))

    traced = []  # called as it is, since TensorFlow warns where several networks are traced one after the other

    def apply(source, what, make=in_memory, batches=None):
        arrays, filled = {}, np.zeros(source.num_examples, bool)
        with Progress(what, source.num_examples) as progress:
            for batch in (
                pipeline.evaluation_batches(source, example, batch_size, strategy)
                if batches is None
                else batches
            ):
                if not traced:
                    traced.append(step.get_concrete_function(batch))
                outputs = {
                    name: distribute.to_numpy(strategy, value)
                    for name, value in traced[0](batch).items()
                }
                real = outputs.pop("weight") > 0
                rows = outputs.pop("position")[real]
                for name, value in outputs.items():
                    if name not in arrays:
                        arrays[name] = make(name, (len(filled), *value.shape[1:]), value.dtype)
                    arrays[name][rows] = value[real]
                filled[rows] = True
                progress.update(len(rows))
        return (
            arrays if filled.all() else {name: values[filled] for name, values in arrays.items()}
        )  # a stream may be shorter

    return apply


def labeled_rows(rows):
    """Only the rows {name: [N, ...]} of examples with a label: a stream shows which those are only when it is read."""
    known = rows["label"] != UNLABELED
    return rows if known.all() else {name: values[known] for name, values in rows.items()}


def layer_features(objective, names):
    """A function images [B, S, S, 3] -> {layer: [B, C]} for the layers `names` that the network has, see `Network.layer_features`."""

    def function(images):
        found = objective.layer_features(images)
        return {name: found[name] for name in names if name in found}

    return function


def pixel_features(images):
    """Images [B, S, S, 3] -> {"pixels": [B, C]}, the mean of neighbouring pixels where they have more than 16 a side."""
    size = min(images.shape[1], PIXELS_SIZE)
    smaller = (
        tf.image.resize(images, [size, size], tf.image.ResizeMethod.AREA)
        if images.shape[1] > size
        else images
    )
    return {PIXELS: tf.reshape(smaller, [images.shape[0], size * size * images.shape[3]])}


def view_features(function, options):
    """The same of batches of `two_views` -> {name: [B, 2, C]}. options: the augment section of the configuration."""

    def of_both(batch):
        outputs = function(color.network_input(batch, options))
        return {
            name: tf.reshape(value, [-1, 2, value.shape[-1]]) for name, value in outputs.items()
        }

    return of_both


def two_views(settings):
    """An example function: (uint8 image [H, W, 3], label) -> two views as of `augment.pretrain_views` as "image", always the same of an image."""

    def example(image, label):
        own = tf.reduce_sum(
            tf.cast(image, tf.int64)
        )  # so that the views do not depend on where the image stands
        seed = tf.stack([own, tf.cast(tf.size(image), tf.int64)])
        return {
            "image": augment.pretrain_views(
                DecodedImage(image), seed, settings.data.image_size, settings.augment
            ),
            "label": label,
        }

    return example
