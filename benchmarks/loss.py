"""NT-Xent forward and backward, in blocks and dense: seconds and memory above the inputs.

    python -m benchmarks.loss

Each line of the table runs in a process of its own; peak memory is that of the process, less what
it was before the first call.
"""

import argparse
import statistics
import subprocess
import sys
import time

from benchmarks.peak import Peak, resident

TEMPERATURE = 0.1
DENSE, IN_BLOCKS = "dense", "in blocks"


def make_loss(variant):
    """A function: embeddings [N, 2, d] -> loss."""
    from tf_simclr.objectives import nt_xent

    def in_blocks(z):
        loss, _ = nt_xent.nt_xent(z, z, TEMPERATURE)
        return loss

    return in_blocks if variant == IN_BLOCKS else lambda z: nt_xent.dense_nt_xent(z, z, TEMPERATURE)


def measure(variant, options):
    """(seconds of each call, bytes)."""
    import tf_simclr  # noqa: F401  isort: skip  sets the environment before TensorFlow is imported
    import tensorflow as tf

    loss = make_loss(variant)

    @tf.function(autograph=False)
    def gradient(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = loss(z)
        return value, tape.gradient(value, z)

    small = tf.math.l2_normalize(tf.random.normal([16, 2, options.dim]), -1)
    gradient(small)  # libraries and kernels are loaded
    z = tf.math.l2_normalize(tf.random.normal([options.worker_views // 2, 2, options.dim]), -1)
    before = resident()
    seconds = []
    with Peak() as peak:
        for _ in range(options.calls + 1):
            began = time.perf_counter()
            _, slope = gradient(z)
            slope.numpy()
            seconds.append(time.perf_counter() - began)
    return seconds[1:] or seconds, peak.most - before


def run_worker(variant, views):
    """(bytes, seconds of each call) of a process of its own."""
    worker = [f"--worker={variant}", f"--worker_views={views}"]
    command = [sys.executable, "-m", "benchmarks.loss", *sys.argv[1:], *worker]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    memory, *seconds = map(float, output.split())
    return memory, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--views", type=int, nargs="+", default=[1024, 8192, 65536])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--calls", type=int, default=3, help="timed calls of each process")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each variant")
    dense_help = (
        "most views that the dense loss is tried with; it needs 24 bytes times their square"
    )
    parser.add_argument("--max_dense", type=int, default=16384, help=dense_help)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--worker_views", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        seconds, memory = measure(options.worker, options)
        print(memory, *seconds)
        return
    print(f"{options.dim} dimensions, median of {options.rounds} x {options.calls} calls\n")
    print("| views | NT-Xent | seconds | ratio | MB above the inputs |\n|---|---|---|---|---|")
    for views in options.views:
        variants = [DENSE, IN_BLOCKS] if views <= options.max_dense else [IN_BLOCKS]
        seconds = {variant: [] for variant in variants}
        memory = dict.fromkeys(variants, 0)
        for _ in range(options.rounds):
            for variant in variants:
                most, durations = run_worker(variant, views)
                memory[variant] = max(memory[variant], most)
                seconds[variant] += durations
        for variant in variants:
            median = statistics.median(seconds[variant])
            ratio = ""
            if DENSE in variants:
                ratio = f"{statistics.median(seconds[DENSE]) / median:.2f}"
            megabytes = f"{memory[variant] / 1e6:.0f}"
            print(f"| {views} | {variant} | {median:.3f} | {ratio} | {megabytes} |", flush=True)


if __name__ == "__main__":
    main()
