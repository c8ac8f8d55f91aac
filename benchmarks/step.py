"""Images/s of one full training step, beside Keras' own layers and PyTorch.

    python -m benchmarks.step

Each variant runs in a process of its own, in turns, so that a machine whose speed drifts is fair to
all; the table gives the medians, and how many times as fast as PyTorch each round was. PyTorch does
the same network, loss and optimizer on random images, without augmentation.
"""

import os
import statistics
import time

from benchmarks import training

SIZE = 2048  # of the matrices
TIMES = 10


def matmul_rate(precision):
    """GFLOP/s of matrix products of 2048 x 2048: what the machine can do at the most."""
    import tensorflow as tf

    a = tf.cast(tf.random.normal([SIZE, SIZE]), precision)
    product = tf.function(lambda: tf.matmul(a, a))
    product().numpy()
    began = time.perf_counter()
    for _ in range(TIMES):
        product().numpy()
    return TIMES * 2 * SIZE**3 / (time.perf_counter() - began) / 1e9


def work(options):
    """Prints GFLOP/s of the machine, GFLOP of an image, and the seconds of the steps."""
    step, gigaflops = training.make_step(options.worker, options)
    rate = matmul_rate(options.precision) if options.worker == "ours" else 0
    print(rate, gigaflops, *training.seconds(step, options))


def variants(options):
    """The names of what is measured."""
    names = []
    for name, (kind, onednn) in training.VARIANTS.items():
        # With half the precision and without oneDNN a step takes minutes.
        is_too_slow = onednn == "0" and options.precision != "float32"
        if not is_too_slow and (kind != "keras" or not options.without_keras):
            names.append(name)
    if training.has_torch(options.torch_python):
        names.append(training.TORCH)
    return names


def by_round(durations, options):
    """Median of each round's `options.steps` durations."""
    rounds = [durations[i : i + options.steps] for i in range(0, len(durations), options.steps)]
    return [statistics.median(steps) for steps in rounds]


def main():
    flags = training.parser(__doc__)
    keras_help = "leave out Keras' own layers, which take most of the time"
    flags.add_argument("--without_keras", action="store_true", help=keras_help)
    options = flags.parse_args()
    if options.worker:
        return work(options)
    seconds = {name: [] for name in variants(options)}
    limits, rates = [], []
    for _ in range(options.rounds):
        for name, durations in seconds.items():
            rate, gigaflops, *steps = training.run("benchmarks.step", name, options)
            if rate:
                rates.append(rate)
                limits.append(rate / gigaflops)
            durations += steps
    gflops = f"{statistics.median(rates):.0f} GFLOP/s ({options.precision} matrix product)"
    print(
        f"ResNet-{options.depth} {options.width:g}x, {options.image_size} pixels, "
        f"batch {options.batch} (two views each), {options.precision}, "
        f"{os.cpu_count()} cores of {gflops}, median of {options.rounds} x {options.steps} steps\n"
    )
    print("| training step | images/s | ratio |\n|---|---|---|")
    base = None
    for name, values in seconds.items():
        rate = options.batch / statistics.median(values)
        base = base or rate
        print(f"| {name} | {rate:.1f} | {rate / base:.2f} |")
    limit = statistics.median(limits)
    name = "limit: the convolutions alone at the rate of the matrix product"
    print(f"| {name} | {limit:.1f} | {limit / base:.2f} |")
    if training.TORCH in seconds:
        ours, torch = (by_round(seconds[name], options) for name in (training.OURS, training.TORCH))
        ratios = ", ".join(f"{theirs / mine:.2f}" for mine, theirs in zip(ours, torch, strict=True))
        print(f"\n{training.OURS}, times as fast as PyTorch, round by round: {ratios}")


if __name__ == "__main__":
    main()
