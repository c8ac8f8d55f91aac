"""Images/s of one core that makes two augmented views of each image: `python -m benchmarks.pipeline [--folder=PATH]`.

Beside it the way of one image at a time: decode all of it, crop and resize, float32 colour operations, blur by two
convolutions. And lightly's transform (on PIL images), where it is installed. Where the operating system allows it, the
process keeps to one core; its own processor time is taken, so that others on the machine do not count. Each row is the median of
several rounds, in which the rows take turns.
"""

import argparse
import functools
import importlib.util
import io
import math
import os
import pathlib
import statistics
import time

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # before TensorFlow counts the cores

import tf_simclr  # noqa: F401  isort: skip  sets the environment before TensorFlow is imported
import numpy as np
import tensorflow as tf

from tf_simclr import config
from tf_simclr.data import augment, color, pipeline
from tf_simclr.data.image import DecodedImage, EncodedImage

SIZES = (
    (500, 333),
    (375, 500),
    (640, 427),
    (320, 240),
)  # of the images that are made, width and height


def photos():
    """JPEG files of scikit-learn's two photographs at several sizes."""
    from sklearn.datasets import load_sample_images

    images = [
        tf.cast(tf.image.resize(image, [height, width], "area"), tf.uint8)
        for image in load_sample_images().images
        for width, height in SIZES
    ]
    return [
        tf.io.encode_jpeg(image, quality=quality).numpy()
        for image in images
        for quality in (80, 95)
    ]


def numbers_of(seed):
    """The crop's seed and the random numbers of one view."""
    return seed, tf.random.stateless_uniform([13], seed)


def former_view(image, seed, size, options):
    """One view, float32 [size, size, 3], of a decoded image: every operation on its own, in float32."""
    crop, u = numbers_of(seed)
    begin, extent = augment.crop_box(tf.shape(image), crop, options.crop_area, options.crop_aspect)
    image = tf.clip_by_value(augment.resize(tf.slice(image, begin, extent), size) / 255, 0.0, 1.0)
    image = tf.cond(u[12] < 0.5, lambda: image[:, ::-1], lambda: image)
    s = 0.8 * options.color_jitter_strength
    low, high = max(1 - s, 0.0), 1 + s
    changes = [
        lambda x: x * color.between(u[4], low, high),
        lambda x: tf.image.adjust_contrast(x, color.between(u[5], low, high)),
        lambda x: tf.image.adjust_saturation(x, color.between(u[6], low, high)),
        lambda x: tf.image.adjust_hue(x, color.between(u[7], -s / 4, s / 4)),
    ]

    def jitter(x):
        for which in tf.unstack(tf.argsort(u[:4])):
            x = tf.clip_by_value(
                tf.switch_case(which, [functools.partial(change, x) for change in changes]),
                0.0,
                1.0,
            )
        return x

    image = tf.cond(u[8] < 0.8, lambda: jitter(image), lambda: image)
    image = tf.cond(
        u[9] < options.grayscale_probability,
        lambda: tf.repeat(tf.image.rgb_to_grayscale(image), 3, -1),
        lambda: image,
    )
    return (
        tf.cond(
            u[10] < 0.5,
            lambda: former_blur(image, color.between(u[11], *color.BLUR_SIGMA)),
            lambda: image,
        )
        if options.use_blur
        else image
    )


def former_blur(image, sigma):
    radius = color.blur_taps(image.shape[0]) // 2
    taps = tf.exp(
        -tf.square(tf.range(-radius, radius + 1, dtype=tf.float32)) / (2 * tf.square(sigma))
    )
    taps = tf.tile((taps / tf.reduce_sum(taps))[:, None], [1, 3])
    image = tf.nn.depthwise_conv2d(image[None], taps[:, None, :, None], [1, 1, 1, 1], "SAME")
    return tf.nn.depthwise_conv2d(image, taps[None, :, :, None], [1, 1, 1, 1], "SAME")[0]


def batches(records, example, batch):
    """Endless batches of `example` (record, seed) in tf.data, each made when it is asked for: no row pays for another one's."""
    data = (
        tf.data.Dataset.range(2**40)
        .map(lambda i: example(tf.constant(records)[i % len(records)], pipeline.fold_in(0, i)))
        .batch(batch)
    )
    settings = tf.data.Options()
    settings.autotune.enabled = settings.experimental_optimization.apply_default_optimizations = (
        settings.experimental_optimization.inject_prefetch
    ) = False
    return iter(data.with_options(settings))


def ways(name, records, opener, size, options, batch):
    """{row of the table: function that makes one batch}."""

    def former(record, seed):
        image = opener(record).whole()
        return tf.stack(
            [
                former_view(image, own, size, options)
                for own in tf.unstack(tf.random.experimental.stateless_split(seed, 2))
            ]
        )

    def example(record, seed):
        return augment.pretrain_views(opener(record), seed, size, options)

    old, new = batches(records, former, batch), batches(records, example, batch)
    fixed = next(new)
    found = {
        f"{name}, one image at a time": lambda: next(old),
        f"{name}, this package": lambda: color.network_input(next(new), options).numpy(),
        f"{name}, this package: decoding, crops, resizing": lambda: next(new),
        f"{name}, this package: colours" + (" and blur" if options.use_blur else ""): lambda: (
            color.network_input(fixed, options).numpy()
        ),
    }
    if opener is EncodedImage and importlib.util.find_spec("lightly"):
        found[f"{name}, lightly"] = lightly(records, size, batch)
    return found


def lightly(records, size, batch):
    from lightly.transforms import SimCLRTransform
    from PIL import Image

    import torch  # isort: skip

    torch.set_num_threads(1)
    transform, records = (
        SimCLRTransform(input_size=size, cj_strength=1.0),
        [bytes(record) for record in records],
    )
    turn = iter(range(10**9))
    return lambda: [
        transform(Image.open(io.BytesIO(records[next(turn) % len(records)])).convert("RGB"))
        for _ in range(batch)
    ]


def peak_memory():
    try:
        import resource
    except ImportError:
        return math.nan
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", help="folder of JPEG files (default: scikit-learn's photographs)"
    )
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    files = (
        [
            path.read_bytes()
            for path in sorted(pathlib.Path(options.folder).rglob("*"))
            if path.suffix.lower() in (".jpg", ".jpeg")
        ]
        if options.folder
        else photos()
    )
    small = np.random.default_rng(0).integers(0, 256, (1000, 32, 32, 3)).astype(np.uint8)
    groups = [
        ways(
            "224 pixels from JPEG",
            np.array(files, object),
            EncodedImage,
            224,
            config.build({}).augment,
            options.batch,
        ),
        ways(
            "32 pixels from memory",
            small,
            DecodedImage,
            32,
            config.build({"use_blur": False, "color_jitter_strength": 0.5}).augment,
            8 * options.batch,
        ),
    ]
    print("| two views of an image | images/s of one core | ratio |\n|---|---|---|")
    for group, batch in zip(groups, (options.batch, 8 * options.batch)):
        seconds = {name: [] for name in group}
        for round_number in range(options.rounds + 1):  # the first one is warm-up
            for name, make in group.items():
                began = time.process_time()
                make()
                if round_number:
                    seconds[name].append(time.process_time() - began)
        base = statistics.median(next(iter(seconds.values())))
        for name, values in seconds.items():
            print(
                f"| {name} | {batch / statistics.median(values):.0f} | {base / statistics.median(values):.2f} |"
            )
    print(
        f"\n{len(files)} JPEG files, batches of {options.batch}, median of {options.rounds}; {peak_memory():.1f} GB of memory at most"
    )


if __name__ == "__main__":
    main()
