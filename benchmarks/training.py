"""What the benchmarks of training share: a training step in a process of its own.

It is one of this package, one of Keras' own layers, or one of PyTorch.
"""

import argparse
import os
import subprocess
import sys
import time

OURS = "this package"
AUGMENTED = "this package, with augmentation from uint8 in memory"
VARIANTS = {  # name: (kind of step, TF_ENABLE_ONEDNN_OPTS)
    "Keras layers, oneDNN off": ("keras", "0"),
    "Keras layers, oneDNN on": ("keras", "1"),
    OURS: ("ours", "1"),
    AUGMENTED: ("augmented", "1"),
}
TORCH = "PyTorch, channels last"
NUM_IMAGES = 50_000  # of the training, for a task that keeps something of each


def network_parser(description):
    """The flags of a network, its batch and its steps."""
    flags = argparse.ArgumentParser(description=description)
    flags.add_argument("--depth", type=int, default=18)
    flags.add_argument("--width", type=float, default=1.0)
    flags.add_argument("--image_size", type=int, default=32)
    flags.add_argument("--batch", type=int, default=128)
    flags.add_argument("--precision", default="float32")
    flags.add_argument("--accumulate_steps", type=int, default=1)
    flags.add_argument("--rematerialize", default="none")
    flags.add_argument("--steps", type=int, default=4, help="timed steps of each process")
    warm_up_help = "steps before them: tracing, then oneDNN's own caches"
    flags.add_argument("--warm_up", type=int, default=2, help=warm_up_help)
    return flags


def parser(description):
    """Those and the flags of processes that are timed in turns."""
    flags = network_parser(description)
    flags.add_argument("--rounds", type=int, default=3, help="processes of each variant")
    torch_help = "a Python that has PyTorch, if this one has not"
    flags.add_argument("--torch_python", default=sys.executable, help=torch_help)
    flags.add_argument("--worker", help=argparse.SUPPRESS)
    return flags


def has_torch(python):
    return not subprocess.run([python, "-c", "import torch"], capture_output=True).returncode


def run(module, variant, options, *flags):
    """Runs a worker.

    Args:
        module: its name.
        variant: a key of `VARIANTS`, or `TORCH`.
        options: of this process.
        flags: further ones, which come after those of this process.

    Returns:
        What it prints, as floats.
    """
    kind, onednn = ("torch", "1") if variant == TORCH else VARIANTS[variant]
    python = options.torch_python if kind == "torch" else sys.executable
    command = [python, "-m", module, *sys.argv[1:], *flags, f"--worker={kind}"]
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": onednn}
    worker = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return [float(word) for word in worker.stdout.split()]


def seconds(step, options):
    """Seconds of each of `options.steps` calls of `step`, after the warm-up."""
    return timed(step, options.warm_up + options.steps)[options.warm_up :]


def timed(step, count):
    """Seconds of each of `count` calls of `step`."""
    durations = []
    for _ in range(count):
        began = time.perf_counter()
        step()
        durations.append(time.perf_counter() - began)
    return durations


def make_step(kind, options, pretext="simclr"):
    """(function that does one step on random images, GFLOP of an image in it, 0 where unknown)."""
    if kind == "torch":
        from benchmarks import in_torch

        return in_torch.make_step(options), 0.0
    import tf_simclr  # noqa: F401  isort: skip  sets the environment before TensorFlow is imported
    import keras
    import tensorflow as tf

    from tf_simclr import config
    from tf_simclr.models import heads, resnet
    from tf_simclr.objectives import objective_class
    from tf_simclr.training import optimizers
    from tf_simclr.training.devices import DTYPE_POLICIES
    from tf_simclr.training.train_step import TrainStep

    if kind == "keras":
        resnet.BatchNorm = heads.BatchNorm = keras_batch_norm(keras)
    keras.config.set_dtype_policy(DTYPE_POLICIES[options.precision])
    flags = {
        "image_size": options.image_size,
        "resnet_depth": options.depth,
        "train_batch_size": options.batch,
        "use_blur": options.image_size > 32,
        "width_multiplier": options.width,
        "train_steps": 1000,
        "precision": options.precision,
        "accumulate_steps": options.accumulate_steps,
        "rematerialize": options.rematerialize,
    }
    settings = config.build({**flags, "pretext": pretext})
    objective = objective_class(settings)(settings, 10, NUM_IMAGES)
    objective.build_variables()
    optimizer = optimizers.make_optimizer(settings, objective, 0.1)
    step = TrainStep(objective, optimizer, settings, tf.distribute.get_strategy())
    if kind == "augmented":
        batches = batches_from_memory(settings, objective)
        return lambda: step(next(batches)), 0.0
    size = options.image_size
    batch = {
        "views": tf.random.uniform([options.batch, 2, size, size, 3]),
        "label": tf.zeros([options.batch], tf.int64),
    }
    # Two views, and a backward pass is two forward ones.
    return lambda: step(batch), 6 * gigaflops(objective, size)


def batches_from_memory(settings, objective):
    """Training batches of random images, kept as uint8, with all of the augmentation."""
    import numpy as np
    import tensorflow as tf

    from tf_simclr.data import mixture, pipeline
    from tf_simclr.data.image import DecodedImage
    from tf_simclr.data.indexed_source import Indexed

    count, size = settings.train.train_batch_size, settings.data.image_size
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.uint8)
    labels = np.zeros(count, np.int64)
    source = Indexed("random", "train", tuple("0123456789"), DecodedImage, images, labels)
    batch_parts = [mixture.BatchPart(source, count)]
    strategy = tf.distribute.get_strategy()
    return iter(pipeline.training_batches(batch_parts, objective.example, 0, 0, strategy))


def gigaflops(objective, size):
    """10^9 multiplications and additions of the convolutions of the encoder for one view.

    Some of them may be matrix products.
    """
    import tensorflow as tf

    function = tf.function(lambda images: objective.encoder(images, training=False))
    graph = function.get_concrete_function(tf.TensorSpec([1, size, size, 3])).graph
    total = 0
    for op in graph.get_operations():
        if op.type == "Conv2D":
            kernel_height, kernel_width, inputs, _ = op.inputs[1].shape
            outputs = op.outputs[0].shape.num_elements()
            total += 2 * outputs * kernel_height * kernel_width * inputs
        elif op.type == "MatMul":
            summed = op.inputs[0].shape[0 if op.get_attr("transpose_a") else 1]
            total += 2 * op.outputs[0].shape.num_elements() * summed
    return total / 1e9


def keras_batch_norm(keras):
    """Keras' layer behind the constructor of this package's."""

    def make(momentum=0.9, synchronized=True, center=True, zero_gamma=False, **kwargs):
        return keras.layers.BatchNormalization(
            momentum=momentum,
            epsilon=1e-5,
            center=center,
            gamma_initializer="zeros" if zero_gamma else "ones",
            **kwargs,
        )

    return make
