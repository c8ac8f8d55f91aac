"""A network and a source -> arrays of features."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.config import Config
from tf_simclr.config.data_sections import AugmentConfig
from tf_simclr.console import Progress
from tf_simclr.data import augment, color, pipeline
from tf_simclr.data.image import DecodedImage
from tf_simclr.data.resizing import area_means
from tf_simclr.data.source import UNLABELED
from tf_simclr.evaluation.feature_store import in_memory

PIXELS = "pixels"  # the name of raw pixels, among layers
MAX_PIXELS_SIZE = 16  # a side; on CIFAR-10 a probe reads as much from them as from all 32
ABOUT_EXAMPLES = ("label", "weight", "position")  # what a batch has besides images


def batch_mapper(
    function: Callable, example: Callable, batch_size: int, strategy: tf.distribute.Strategy
) -> Callable:
    """As `feature_mapper`, batch by batch, so that the memory does not grow with the source.

    Returns:
        A function (source, batches) that yields {"label", "position": int64 [n], and for each name
        float32 [n, ...]}; positions of the source, all of a batch before those of the next.
    """

    def replica_step(batch):
        outputs = {name: batch[name] for name in ABOUT_EXAMPLES}
        for name, value in function(batch["image"]).items():
            outputs[name] = tf.cast(value, tf.float32)
        return outputs

    @tf.function(autograph=False)
    def step(batch):
        return strategy.run(replica_step, args=(batch,))

    # Called as a concrete function: TensorFlow warns where several networks are traced in turn.
    traced = []

    def outputs_of(batch):
        if not traced:
            traced.append(step.get_concrete_function(batch))
        outputs = traced[0](batch)
        return {name: distribute.to_numpy(strategy, value) for name, value in outputs.items()}

    def apply(source, batches=None):
        if batches is None:
            batches = pipeline.evaluation_batches(source, example, batch_size, strategy)
        for batch in batches:
            outputs = outputs_of(batch)
            is_real = outputs.pop("weight") > 0  # others fill up the last batch
            yield {name: value[is_real] for name, value in outputs.items()}

    return apply


def feature_mapper(
    function: Callable, example: Callable, batch_size: int, strategy: tf.distribute.Strategy
) -> Callable:
    """A function that applies `function` to all examples of a source; traced once for all.

    Args:
        function: the batched "image" of `example`, mostly images [B, S, S, 3] -> {name: tensor
            [B, ...]}.
        example: (image, label) -> {"image", "label"}.
        batch_size: over all replicas.
        strategy: how batches are distributed.

    Returns:
        A function (source, what, make, batches) -> {"label": int64 [N], and for each name float32
        [N, ...]}, in the order of the source. what: the name of the work for the progress, None
        for none. make: (name, shape, dtype) -> the array that is filled. batches:
        `pipeline.evaluation_batches` of the source, for one that comes again and again.
    """
    return collected(batch_mapper(function, example, batch_size, strategy))


def collected(outputs_of_batches: Callable) -> Callable:
    """The function of `feature_mapper` that collects what one of `batch_mapper` yields."""

    def apply(source, what, make=in_memory, batches=None):
        arrays = {}
        is_filled = np.zeros(source.num_examples, bool)
        with Progress(what, source.num_examples) as progress:
            for outputs in outputs_of_batches(source, batches):
                positions = outputs.pop("position")
                for name, value in outputs.items():
                    if name not in arrays:
                        shape = (source.num_examples, *value.shape[1:])
                        arrays[name] = make(name, shape, value.dtype)
                    arrays[name][positions] = value
                is_filled[positions] = True
                progress.update(len(positions))
        if is_filled.all():
            return arrays
        return {name: values[is_filled] for name, values in arrays.items()}  # a shorter stream

    return apply


def labeled_rows(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Only the rows of arrays {name: [N, ...]} that have a label.

    A stream shows which those are only when it is read.
    """
    is_labeled = arrays["label"] != UNLABELED
    if is_labeled.all():
        return arrays
    return {name: values[is_labeled] for name, values in arrays.items()}


def layer_features(network, names: tuple[str, ...]) -> Callable:
    """A function images [B, S, S, 3] -> {layer: [B, C]}.

    Args:
        network: has `layer_features`, see `models.network.Network`.
        names: of layers; those that the network does not have are left out.
    """

    def function(images):
        layers = network.layer_features(images)
        return {name: layers[name] for name in names if name in layers}

    return function


def pixel_features(images: tf.Tensor) -> dict[str, tf.Tensor]:
    """Raw pixels as features, the mean of neighboring ones where there are more than 16 a side.

    Args:
        images: float32 [B, S, S, 3].

    Returns:
        {"pixels": float32 [B, C]}.
    """
    size = min(images.shape[1], MAX_PIXELS_SIZE)
    if images.shape[1] > size:
        images = area_means(images, size)
    flat = tf.reshape(images, [images.shape[0], size * size * images.shape[3]])
    return {PIXELS: flat}


def view_features(function: Callable, options: AugmentConfig) -> Callable:
    """`function` of the images in batches of `two_views` -> {name: [B, 2, C]}."""

    def of_both_views(batch):
        outputs = function(color.network_input(batch, options))
        return {
            name: tf.reshape(value, [-1, 2, value.shape[-1]]) for name, value in outputs.items()
        }

    return of_both_views


def two_views(settings: Config) -> Callable:
    """An example function (uint8 image [H, W, 3], label) -> {"image", "label"}.

    "image" are two views as of `augment.pretrain_views`, always the same of an image.
    """

    def example(image, label):
        # The seed follows from the pixels, so the views do not depend on the image's position.
        sum_of_pixels = tf.reduce_sum(tf.cast(image, tf.int64))
        seed = tf.stack([sum_of_pixels, tf.cast(tf.size(image), tf.int64)])
        views = augment.pretrain_views(
            DecodedImage(image),
            seed,
            settings.data.image_size,
            settings.augment,
            settings.preprocessing.resizing,
        )
        return {"image": views, "label": label}

    return example
