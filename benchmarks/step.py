"""Images/s of one full training step, ours beside Keras' own batch norm: `python -m benchmarks.step`.

Each variant runs in a process of its own, in turns, so that a machine whose speed drifts is fair to all; the table gives
the medians.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

VARIANTS = {  # name: (batch norm, TF_ENABLE_ONEDNN_OPTS)
    "Keras BatchNormalization, oneDNN off": ("keras", "0"),
    "Keras BatchNormalization, oneDNN on": ("keras", "1"),
    "this package": ("ours", "1"),
}
BASELINE = next(iter(VARIANTS))


def measure(batch_norm, options):
    """Seconds of each of `options.steps` steps on random images."""
    import tf_simclr  # noqa: F401  isort: skip  sets the environment before TensorFlow is imported
    import keras
    import tensorflow as tf

    from tf_simclr import config, optimizers
    from tf_simclr.models import heads, resnet
    from tf_simclr.objectives import OBJECTIVES
    from tf_simclr.step import TrainStep

    if batch_norm == "keras":
        resnet.BatchNorm = heads.BatchNorm = keras_batch_norm(keras)
    settings = config.build({
        "image_size": options.image_size, "resnet_depth": options.depth, "train_batch_size": options.batch,
        "width_multiplier": options.width, "train_steps": 1000, "precision": options.precision})
    objective = OBJECTIVES["pretrain"](settings, 10)
    objective.build_variables()
    step = TrainStep(objective, optimizers.make(settings, objective, 0.1), settings, tf.distribute.get_strategy())
    size = options.image_size
    batch = {"views": tf.random.uniform([options.batch, 2, size, size, 3]), "label": tf.zeros([options.batch], tf.int64)}
    for _ in range(2):  # tracing, then oneDNN's own caches
        float(step(batch)["total_loss"])
    seconds = []
    for _ in range(options.steps):
        began = time.perf_counter()
        float(step(batch)["total_loss"])
        seconds.append(time.perf_counter() - began)
    return seconds


def matmul_rate():
    """GFLOP/s of float32 matrix products of 2048 x 2048: what the machine can do at the most."""
    import tensorflow as tf

    a = tf.random.normal([2048, 2048])
    product = tf.function(lambda: tf.matmul(a, a))
    product().numpy()
    began = time.perf_counter()
    for _ in range(10):
        product().numpy()
    return 10 * 2 * 2048**3 / (time.perf_counter() - began) / 1e9


def keras_batch_norm(keras):
    """Keras' layer behind the constructor of ours."""

    def make(momentum=0.9, synchronized=True, center=True, zero_gamma=False, **kwargs):
        return keras.layers.BatchNormalization(
            momentum=momentum, epsilon=1e-5, center=center, gamma_initializer="zeros" if zero_gamma else "ones", **kwargs)

    return make


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--image_size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--steps", type=int, default=4, help="timed steps of each process")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each variant")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(" ".join(map(str, [matmul_rate(), *measure(options.worker, options)])))
        return
    seconds, rates = {name: [] for name in VARIANTS}, []
    for _ in range(options.rounds):
        for name, (batch_norm, onednn) in VARIANTS.items():
            command = [sys.executable, "-m", "benchmarks.step", *sys.argv[1:], f"--worker={batch_norm}"]
            output = subprocess.run(command, env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": onednn}, check=True, capture_output=True, text=True).stdout
            rate, *steps = map(float, output.split())
            rates.append(rate)
            seconds[name] += steps
    print(f"ResNet-{options.depth} {options.width:g}x, {options.image_size} pixels, batch {options.batch} (two views each), "
          f"{options.precision}, {os.cpu_count()} cores of {statistics.median(rates):.0f} GFLOP/s (float32 matrix product), "
          f"median of {options.rounds} x {options.steps} steps\n")
    print("| training step | images/s | ratio |\n|---|---|---|")
    base = statistics.median(seconds[BASELINE])
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"| {name} | {options.batch / median:.1f} | {base / median:.2f} |")


if __name__ == "__main__":
    main()
