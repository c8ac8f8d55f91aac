"""Images/s of a training step of each method on views of an image, beside SimCLR.

    python -m benchmarks.methods

All are in one process and take --steps steps in turns, --rounds times, so that a machine whose
speed drifts is fair to all; the table gives the medians. A step has all of the augmentation, from
uint8 in memory, and the published sizes of what a method has besides the encoder.
"""

import os
import statistics

from benchmarks import training

METHODS = (
    "simclr",
    "instance_discrimination",
    "pirl",
    "cmc",
    "cpc",
    "moco",
    "byol",
    "vicreg",
    "lejepa",
)


def main():
    flags = training.parser(__doc__)
    flags.add_argument("--pretext", choices=METHODS, help="one method alone, beside simclr")
    options = flags.parse_args()
    names = METHODS if options.pretext is None else dict.fromkeys(("simclr", options.pretext))
    steps = {name: training.make_step("augmented", options, name)[0] for name in names}
    for step in steps.values():
        training.timed(step, options.warm_up)
    seconds = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name, step in steps.items():
            seconds[name] += training.timed(step, options.steps)
    print(
        f"ResNet-{options.depth} {options.width:g}x, {options.image_size} pixels, "
        f"batch {options.batch}, {options.precision}, {os.cpu_count()} cores, "
        f"median of {options.rounds} x {options.steps} steps\n"
    )
    print("| method | images/s | of SimCLR's |\n|---|--:|--:|")
    base = options.batch / statistics.median(seconds["simclr"])
    for name, values in seconds.items():
        rate = options.batch / statistics.median(values)
        print(f"| `{name}` | {rate:.1f} | {rate / base:.2f} |")


if __name__ == "__main__":
    main()
