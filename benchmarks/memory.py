"""Peak memory and images/s of training, of large batches in parts and with less kept.

    python -m benchmarks.memory

Each line of the table is a process of its own; the memory is the most that the process has had,
libraries included.
"""

import resource
import statistics

from benchmarks import training

OURS = "this package"


def work(options):
    """Prints bytes and the seconds of the steps."""
    step, _ = training.make_step(options.worker, options)
    seconds = training.seconds(step, options)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, *seconds)


def trainings(options):
    """[(name, variant, flags, batch size)] of what is compared."""
    small, large = options.batch, options.batch * options.times
    in_parts = f"--accumulate_steps={options.times}"
    large_flags = [f"--batch={large}", in_parts, "--warm_up=1", "--steps=1"]
    compared = [
        (f"batch {small}", OURS, [], small),
    ]
    for flag in ("--rematerialize=norm", "--rematerialize=block"):
        compared.append((f"batch {small}, {flag}", OURS, [flag], small))
    compared.append((f"batch {large}, {in_parts}", OURS, large_flags, large))
    if training.has_torch(options.torch_python):
        compared.append((f"{training.TORCH}, batch {small}", training.TORCH, [], small))
    return compared


def main():
    parser = training.parser(__doc__)
    times_help = "how many times the batch the large one is"
    parser.add_argument("--times", type=int, default=32, help=times_help)
    options = parser.parse_args()
    if options.worker:
        return work(options)
    print(
        f"ResNet-{options.depth} {options.width:g}x, {options.image_size} pixels, two views of "
        f"each image, {options.precision}\n"
    )
    print("| training | GB | ratio | images/s | ratio |\n|---|---|---|---|---|")
    base = None
    for name, variant, flags, batch in trainings(options):
        most, rates = measure(variant, flags, batch, options)
        rate = statistics.median(rates)
        base = base or (most, rate)
        base_most, base_rate = base
        memory = f"{most / 1e9:.2f} | {most / base_most:.2f}"
        print(f"| {name} | {memory} | {rate:.1f} | {rate / base_rate:.2f} |", flush=True)


def measure(variant, flags, batch, options):
    """(bytes at most, images/s of each step)."""
    most, rates = 0, []
    for _ in range(1 if batch > options.batch else options.rounds):
        peak, *seconds = training.run("benchmarks.memory", variant, options, *flags)
        most = max(most, peak)
        rates += [batch / step_seconds for step_seconds in seconds]
    return most, rates


if __name__ == "__main__":
    main()
