"""NT-Xent forward and backward, in blocks and dense: seconds and memory above the inputs: `python -m benchmarks.loss`.

Each row runs in a process of its own; peak memory is that of the process, less what it was before the first call.
"""

import argparse
import statistics
import subprocess
import sys
import time

from benchmarks.peak import Peak, resident

TEMPERATURE = 0.1


def dense(tf, queries, keys):
    """The loss as it is written down, all logits at once."""
    count, loss = keys.shape[0], 0.0
    itself = tf.linalg.diag(tf.fill([count], 1e9))
    for view in (0, 1):
        across = tf.matmul(queries[:, view], keys[:, 1 - view], transpose_b=True) / TEMPERATURE
        own = tf.matmul(queries[:, view], keys[:, view], transpose_b=True) / TEMPERATURE - itself
        loss += tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(
                tf.range(count), tf.concat([across, own], 1)
            )
        )
    return loss


def measure(variant, options):
    """(seconds of each call, bytes)."""
    import tf_simclr  # noqa: F401  isort: skip  sets the environment before TensorFlow is imported
    import tensorflow as tf

    from tf_simclr.objectives.nt_xent import nt_xent

    def loss(z):
        return dense(tf, z, z) if variant == "dense" else nt_xent(z, z, TEMPERATURE)[0]

    @tf.function(autograph=False)
    def gradient(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = loss(z)
        return value, tape.gradient(value, z)

    small = tf.math.l2_normalize(tf.random.normal([16, 2, options.dim]), -1)
    gradient(small)  # libraries and kernels are loaded
    z = tf.math.l2_normalize(tf.random.normal([options.worker_views // 2, 2, options.dim]), -1)
    before, seconds = resident(), []
    with Peak() as peak:
        for _ in range(options.calls + 1):
            began = time.perf_counter()
            gradient(z)[1].numpy()
            seconds.append(time.perf_counter() - began)
    return seconds[1:] or seconds, peak.most - before


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--views", type=int, nargs="+", default=[1024, 8192, 65536])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--calls", type=int, default=3, help="timed calls of each process")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each variant")
    parser.add_argument(
        "--max_dense",
        type=int,
        default=16384,
        help="most views that the dense loss is tried with; it needs 24 bytes times their square",
    )
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
        found = {}
        for _ in range(options.rounds):
            for variant in ["dense", "in blocks"] if views <= options.max_dense else ["in blocks"]:
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.loss",
                    *sys.argv[1:],
                    f"--worker={variant}",
                    f"--worker_views={views}",
                ]
                memory, *seconds = map(
                    float,
                    subprocess.run(
                        command, check=True, capture_output=True, text=True
                    ).stdout.split(),
                )
                old = found.get(variant, ([], 0))
                found[variant] = old[0] + seconds, max(old[1], memory)
        for variant, (seconds, memory) in found.items():
            ratio = (
                f"{statistics.median(found['dense'][0]) / statistics.median(seconds):.2f}"
                if "dense" in found
                else ""
            )
            print(
                f"| {views} | {variant} | {statistics.median(seconds):.3f} | {ratio} | {memory / 1e6:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
