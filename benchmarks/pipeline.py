"""Images/s of one core that makes two augmented views of each image.

    python -m benchmarks.pipeline [--folder=PATH]

Beside it the way of one image at a time: decode all of it, crop and resize, float32 color
operations, blur by two convolutions. And lightly's transform (on PIL images), where it is
installed. Where the operating system allows it, the process keeps to one core; its own processor
time is taken, so that others on the machine do not count. Each line of the table is the median of
several rounds, in which they take turns.
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
from tf_simclr.data import augment, blur, color, pipeline, resizing
from tf_simclr.data.image import DecodedImage, EncodedImage

SIZES = ((500, 333), (375, 500), (640, 427), (320, 240))  # of the photos, width and height
QUALITIES = (80, 95)  # of their JPEG files
CROPPED, SMALL = 224, 32  # sizes of views in pixels


def photos():
    """JPEG files of scikit-learn's two photographs at several sizes."""
    from sklearn.datasets import load_sample_images

    files = []
    for photo in load_sample_images().images:
        for width, height in SIZES:
            image = tf.cast(tf.image.resize(photo, [height, width], "area"), tf.uint8)
            files += [tf.io.encode_jpeg(image, quality=quality).numpy() for quality in QUALITIES]
    return files


def former_view(image, seed, size, options):
    """One view, float32 [size, size, 3], of a decoded image: each operation alone, in float32."""
    u = tf.random.stateless_uniform([13], seed)
    begin, extent = augment.crop_box(tf.shape(image), seed, options.crop_area, options.crop_aspect)
    image = resizing.resize(tf.slice(image, begin, extent), size) / 255
    image = tf.clip_by_value(image, 0.0, 1.0)
    image = tf.cond(u[12] < 0.5, lambda: image[:, ::-1], lambda: image)
    image = tf.cond(u[8] < 0.8, lambda: former_jitter(image, u, options), lambda: image)
    is_gray = u[9] < options.grayscale_probability
    image = tf.cond(is_gray, lambda: gray(image), lambda: image)
    if not options.use_blur:
        return image
    sigma = color.between(u[11], *color.BLUR_SIGMA)
    return tf.cond(u[10] < 0.5, lambda: former_blur(image, sigma), lambda: image)


def gray(image):
    return tf.repeat(tf.image.rgb_to_grayscale(image), 3, -1)


def former_jitter(image, u, options):
    """Brightness, contrast, saturation and hue in random order."""
    s = 0.8 * options.color_jitter_strength
    low, high = max(1 - s, 0.0), 1 + s
    changes = [
        lambda x: x * color.between(u[4], low, high),
        lambda x: tf.image.adjust_contrast(x, color.between(u[5], low, high)),
        lambda x: tf.image.adjust_saturation(x, color.between(u[6], low, high)),
        lambda x: tf.image.adjust_hue(x, color.between(u[7], -s / 4, s / 4)),
    ]
    for number in tf.unstack(tf.argsort(u[:4])):
        branches = [functools.partial(change, image) for change in changes]
        image = tf.clip_by_value(tf.switch_case(number, branches), 0.0, 1.0)
    return image


def former_blur(image, sigma):
    radius = blur.blur_taps(image.shape[0]) // 2
    offsets = tf.range(-radius, radius + 1, dtype=tf.float32)
    taps = tf.exp(-tf.square(offsets) / (2 * tf.square(sigma)))
    taps = tf.tile((taps / tf.reduce_sum(taps))[:, None], [1, 3])
    image = tf.nn.depthwise_conv2d(image[None], taps[:, None, :, None], [1, 1, 1, 1], "SAME")
    return tf.nn.depthwise_conv2d(image, taps[None, :, :, None], [1, 1, 1, 1], "SAME")[0]


def batches(records, example, batch):
    """Endless batches of `example` (record, seed), each made when it is asked for.

    So no line of the table pays for another one's.
    """

    def numbered(i):
        return example(tf.constant(records)[i % len(records)], pipeline.fold_in(0, i))

    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    options.experimental_optimization.inject_prefetch = False
    return iter(tf.data.Dataset.range(2**40).map(numbered).batch(batch).with_options(options))


def ways(name, records, opener, size, options, batch):
    """{line of the table: function that makes one batch}."""

    def former(record, seed):
        image = opener(record).whole()
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        return tf.stack([former_view(image, view_seed, size, options) for view_seed in seeds])

    def example(record, seed):
        return augment.pretrain_views(opener(record), seed, size, options)

    former_batches = batches(records, former, batch)
    new_batches = batches(records, example, batch)
    fixed = next(new_batches)
    colors = "colors and blur" if options.use_blur else "colors"
    package = f"{name}, this package"
    functions = {
        f"{name}, one image at a time": lambda: next(former_batches),
        package: lambda: color.network_input(next(new_batches), options).numpy(),
        f"{package}: decoding, crops, resizing": lambda: next(new_batches),
        f"{package}: {colors}": lambda: color.network_input(fixed, options).numpy(),
    }
    if opener is EncodedImage and importlib.util.find_spec("lightly"):
        functions[f"{name}, lightly"] = lightly(records, size, batch)
    return functions


def lightly(records, size, batch):
    from lightly.transforms import SimCLRTransform
    from PIL import Image

    import torch  # isort: skip

    torch.set_num_threads(1)
    transform = SimCLRTransform(input_size=size, cj_strength=1.0)
    files = [bytes(record) for record in records]
    numbers = iter(range(10**9))

    def views():
        file = files[next(numbers) % len(files)]
        return transform(Image.open(io.BytesIO(file)).convert("RGB"))

    return lambda: [views() for _ in range(batch)]


def peak_memory():
    """Gigabytes."""
    try:
        import resource
    except ImportError:
        return math.nan
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def time_in_turns(functions, rounds):
    """{name: seconds of processor time of each call}."""
    seconds = {name: [] for name in functions}
    for round_number in range(rounds + 1):  # the first one is warm-up
        for name, make in functions.items():
            began = time.process_time()
            make()
            if round_number:
                seconds[name].append(time.process_time() - began)
    return seconds


def read_folder(folder):
    """The content of its JPEG files."""
    paths = sorted(pathlib.Path(folder).rglob("*"))
    return [path.read_bytes() for path in paths if path.suffix.lower() in (".jpg", ".jpeg")]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    folder_help = "folder of JPEG files (default: scikit-learn's photographs)"
    parser.add_argument("--folder", help=folder_help)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    files = np.array(read_folder(options.folder) if options.folder else photos(), object)
    shape = (1000, SMALL, SMALL, 3)
    small = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    small_files = np.array([tf.io.encode_png(image).numpy() for image in small], object)
    from_jpeg = config.build({}).augment
    from_memory = config.build({"use_blur": False, "color_jitter_strength": 0.5}).augment
    large_batch = 8 * options.batch
    groups = [
        (options.batch, "224 pixels from JPEG", files, EncodedImage, CROPPED, from_jpeg),
        (large_batch, "32 pixels from memory", small, DecodedImage, SMALL, from_memory),
        (large_batch, "32 pixels from PNG", small_files, EncodedImage, SMALL, from_memory),
    ]
    print("| two views of an image | images/s of one core | ratio |\n|---|---|---|")
    for batch, *group in groups:
        seconds = time_in_turns(ways(*group, batch), options.rounds)
        base = None
        for name, values in seconds.items():
            median = statistics.median(values)
            base = base or median
            print(f"| {name} | {batch / median:.0f} | {base / median:.2f} |")
    print(
        f"\n{len(files)} JPEG files, batches of {options.batch}, median of {options.rounds}; "
        f"{peak_memory():.1f} GB of memory at most"
    )


if __name__ == "__main__":
    main()
