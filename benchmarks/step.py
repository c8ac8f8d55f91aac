"""Images/s of one full training step, ours beside Keras' own layers and PyTorch: `python -m benchmarks.step`.

Each variant runs in a process of its own, in turns, so that a machine whose speed drifts is fair to all; the table gives
the medians. PyTorch does the same network, loss and optimiser on random images, without augmentation.
"""

import os
import statistics
import time

from benchmarks import training


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


def work(options):
    """Prints GFLOP/s of the machine, GFLOP of an image, and the seconds of the steps."""
    step, gigaflops = training.make_step(options.worker, options)
    rate = matmul_rate() if options.worker == "ours" else 0
    print(rate, gigaflops, *training.seconds(step, options))


def main():
    parser = training.parser(__doc__)
    options = parser.parse_args()
    if options.worker:
        return work(options)
    half = options.precision != "float32"  # without oneDNN that takes minutes a step
    names = [name for name, (_, onednn) in training.VARIANTS.items() if onednn == "1" or not half]
    names += [training.TORCH] if training.has_torch(options.torch_python) else []
    seconds, limits, rates = {name: [] for name in names}, [], []
    for _ in range(options.rounds):
        for name in names:
            rate, gigaflops, *steps = training.run("benchmarks.step", name, options)
            if rate:
                rates.append(rate)
                limits.append(rate / gigaflops)
            seconds[name] += steps
    print(
        f"ResNet-{options.depth} {options.width:g}x, {options.image_size} pixels, batch {options.batch} (two views each), "
        f"{options.precision}, {os.cpu_count()} cores of {statistics.median(rates):.0f} GFLOP/s (float32 matrix product), "
        f"median of {options.rounds} x {options.steps} steps\n"
    )
    print("| training step | images/s | ratio |\n|---|---|---|")
    base = statistics.median(seconds[names[0]])
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"| {name} | {options.batch / median:.1f} | {base / median:.2f} |")
    limit = statistics.median(limits)
    print(
        f"| limit: the convolutions alone at the rate of the matrix product | {limit:.1f} | {base * limit / options.batch:.2f} |"
    )


if __name__ == "__main__":
    main()
