"""What the benchmarks of training share: a training step of ours, one of Keras' layers or of PyTorch, in a process of its own."""

import argparse
import os
import subprocess
import sys
import time

VARIANTS = {  # name: (what is measured, TF_ENABLE_ONEDNN_OPTS)
    "Keras layers, oneDNN off": ("keras", "0"),
    "Keras layers, oneDNN on": ("keras", "1"),
    "this package": ("ours", "1"),
    "this package, with augmentation from uint8 in memory": ("augmented", "1"),
}
TORCH = "PyTorch, channels last"


def parser(description):
    """The flags of a network and its batch."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--depth", type=int, default=18)
    found.add_argument("--width", type=float, default=1.0)
    found.add_argument("--image_size", type=int, default=32)
    found.add_argument("--batch", type=int, default=128)
    found.add_argument("--precision", default="float32")
    found.add_argument("--accumulate_steps", type=int, default=1)
    found.add_argument("--rematerialize", default="none")
    found.add_argument("--steps", type=int, default=4, help="timed steps of each process")
    found.add_argument(
        "--warm_up",
        type=int,
        default=2,
        help="steps before them: tracing, then oneDNN's own caches",
    )
    found.add_argument("--rounds", type=int, default=3, help="processes of each variant")
    found.add_argument(
        "--torch_python",
        default=sys.executable,
        help="a Python that has PyTorch, if this one has not",
    )
    found.add_argument("--worker", help=argparse.SUPPRESS)
    return found


def has_torch(python):
    return not subprocess.run([python, "-c", "import torch"], capture_output=True).returncode


def run(module, variant, options, *flags):
    """What a worker of `module` prints, as floats. flags: they come after those of this process."""
    what, onednn = ("torch", "1") if variant == TORCH else VARIANTS[variant]
    command = [
        options.torch_python if what == "torch" else sys.executable,
        "-m",
        module,
        *sys.argv[1:],
        *flags,
        f"--worker={what}",
    ]
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": onednn}
    return [
        float(word)
        for word in subprocess.run(
            command, env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout.split()
    ]


def seconds(step, options):
    """Seconds of each of `options.steps` calls of `step`, after the warm-up."""
    found = []
    for _ in range(options.warm_up + options.steps):
        began = time.perf_counter()
        step()
        found.append(time.perf_counter() - began)
    return found[options.warm_up :]


def make_step(what, options):
    """(function that does one step on random images, GFLOP of an image in it, 0 where unknown)."""
    if what == "torch":
        from benchmarks import in_torch

        return in_torch.make_step(options), 0.0
    import tf_simclr  # noqa: F401  isort: skip  sets the environment before TensorFlow is imported
    import keras
    import tensorflow as tf

    from tf_simclr import config
    from tf_simclr.models import heads, resnet
    from tf_simclr.objectives import objective_class
    from tf_simclr.training import optimizers
    from tf_simclr.training.experiment import POLICIES
    from tf_simclr.training.train_step import TrainStep

    if what == "keras":
        resnet.BatchNorm = heads.BatchNorm = keras_batch_norm(keras)
    keras.config.set_dtype_policy(POLICIES[options.precision])
    settings = config.build(
        {
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
    )
    objective = objective_class(settings)(settings, 10)
    objective.build_variables()
    step = TrainStep(
        objective,
        optimizers.make_optimizer(settings, objective, 0.1),
        settings,
        tf.distribute.get_strategy(),
    )
    if what == "augmented":
        batches = from_memory(settings, objective)
        return lambda: step(next(batches)), 0.0
    size = options.image_size
    batch = {
        "views": tf.random.uniform([options.batch, 2, size, size, 3]),
        "label": tf.zeros([options.batch], tf.int64),
    }
    return lambda: step(batch), 6 * gigaflops(
        objective, size
    )  # two views, and a backward pass is two forward ones


def from_memory(settings, objective):
    """Training batches of random images, kept as uint8, with all of the augmentation."""
    import numpy as np
    import tensorflow as tf

    from tf_simclr.data import mixture, pipeline
    from tf_simclr.data.image import DecodedImage
    from tf_simclr.data.source import Indexed

    count, size = settings.train.train_batch_size, settings.data.image_size
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.uint8)
    source = Indexed(
        "random", "train", tuple("0123456789"), DecodedImage, images, np.zeros(count, np.int64)
    )
    return iter(
        pipeline.training_batches(
            [mixture.BatchPart(source, count)],
            objective.example,
            0,
            0,
            tf.distribute.get_strategy(),
        )
    )


def gigaflops(objective, size):
    """10^9 multiplications and additions of the convolutions of the encoder for one view."""
    import tensorflow as tf

    run = tf.function(
        lambda images: objective.encoder(images, training=False)
    ).get_concrete_function(tf.TensorSpec([1, size, size, 3]))
    total = 0
    for op in run.graph.get_operations():
        if op.type == "Conv2D":
            total += 2 * op.outputs[0].shape.num_elements() * op.inputs[1].shape[:3].num_elements()
    return total / 1e9


def keras_batch_norm(keras):
    """Keras' layer behind the constructor of ours."""

    def make(momentum=0.9, synchronized=True, center=True, zero_gamma=False, **kwargs):
        return keras.layers.BatchNormalization(
            momentum=momentum,
            epsilon=1e-5,
            center=center,
            gamma_initializer="zeros" if zero_gamma else "ones",
            **kwargs,
        )

    return make
