"""Peak memory and images/s of training, of large batches in parts and with recomputed activations: `python -m benchmarks.memory`.

Each row is a process of its own; the memory is the most that the process has had, libraries included.
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


def rows(options):
    """(name, variant, flags, batch) of each row."""
    plain, large = options.batch, options.batch * options.times
    found = [
        (f"batch {plain}", OURS, [], plain),
        (f"batch {plain}, --rematerialize=block", OURS, ["--rematerialize=block"], plain),
        (
            f"batch {large}, --accumulate_steps={options.times}",
            OURS,
            [f"--batch={large}", f"--accumulate_steps={options.times}", "--warm_up=1", "--steps=1"],
            large,
        ),
    ]
    if training.has_torch(options.torch_python):
        found.append((f"{training.TORCH}, batch {plain}", training.TORCH, [], plain))
    return found


def main():
    parser = training.parser(__doc__)
    parser.add_argument(
        "--times", type=int, default=32, help="how many times the batch the large one is"
    )
    options = parser.parse_args()
    if options.worker:
        return work(options)
    print(
        f"ResNet-{options.depth} {options.width:g}x, {options.image_size} pixels, two views of each image, {options.precision}\n"
    )
    print("| training | GB | ratio | images/s | ratio |\n|---|---|---|---|---|")
    base = None
    for name, variant, flags, batch in rows(options):
        memory, rate = 0, []
        for _ in range(1 if batch > options.batch else options.rounds):
            found, *seconds = training.run("benchmarks.memory", variant, options, *flags)
            memory, rate = max(memory, found), rate + [batch / s for s in seconds]
        rate = statistics.median(rate)
        base = base or (memory, rate)
        print(
            f"| {name} | {memory / 1e9:.2f} | {memory / base[0]:.2f} | {rate:.1f} | {rate / base[1]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
