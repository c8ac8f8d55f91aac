"""Where matrix products are faster than oneDNN's convolutions, in bfloat16 on this CPU.

    taskset -c 1 python -m benchmarks.convolutions

A forward pass and both gradients of convolutions of the ResNets, by convolutions alone, with the
gradient of the kernel by products, and by products alone; all in turns, the processor time of the
fastest of --rounds. `tf_simclr.models.convolution` has the sizes that follow.
"""

import argparse
import functools
import time

import tf_simclr  # noqa: F401  isort: skip  sets the environment before TensorFlow is imported
import tensorflow as tf

from tf_simclr.models import convolution

SHAPES = (  # (images, side of the maps, channels in, channels out, side of the kernel)
    (512, 12, 32, 32, 3),
    (512, 6, 64, 64, 3),
    (512, 3, 128, 128, 3),
    (128, 8, 256, 256, 3),
    (128, 4, 512, 512, 3),
    (64, 2, 512, 512, 3),
    (16, 14, 256, 256, 3),
    (16, 14, 1024, 256, 1),
    (64, 7, 256, 256, 3),
    (16, 7, 512, 512, 3),
    (16, 7, 512, 2048, 1),
)
WAYS = {
    "convolutions": lambda x, kernel: tf.nn.conv2d(x, kernel, 1, "SAME"),
    "kernel gradient by products": functools.partial(convolution.by_products, all_passes=False),
    "products": functools.partial(convolution.by_products, all_passes=True),
}


def make_passes(convolve):
    @tf.function(autograph=False)
    def passes(x, kernel, upstream):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = convolve(x, kernel)
        return y, tape.gradient(y, [x, kernel], output_gradients=upstream)

    return passes


def fastest(shape, options):
    """{name of a way: seconds of its fastest round}."""
    images, side, channels, filters, kernel_size = shape
    sizes = (
        [images, side, side, channels],
        [kernel_size, kernel_size, channels, filters],
        [images, side, side, filters],
    )
    arguments = [tf.cast(tf.random.normal(size), tf.bfloat16) for size in sizes]
    passes = {name: make_passes(convolve) for name, convolve in WAYS.items()}
    seconds = {name: [] for name in WAYS}
    for _ in range(options.rounds + 1):
        for name, run in passes.items():
            began = time.process_time()
            run(*arguments)
            seconds[name].append(time.process_time() - began)
    return {name: min(values[1:]) for name, values in seconds.items()}  # the first was traced


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    has_amx = "with" if convolution.has_amx() else "without"
    print(f"bfloat16 {has_amx} AMX; how many times as fast as convolutions\n")
    print("| images | map | channels | kernel | kernel gradient by products | products |")
    print("|--:|--:|---|--:|--:|--:|")
    for shape in SHAPES:
        images, side, channels, filters, kernel_size = shape
        base, *others = fastest(shape, options).values()
        ratios = " | ".join(f"{base / seconds:.2f}" for seconds in others)
        sizes = f"{images} | {side} | {channels} to {filters} | {kernel_size}"
        print(f"| {sizes} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
