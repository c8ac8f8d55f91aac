"""How images/s and memory change with batch, width, image size and depth.

    python -m benchmarks.scaling

One thing is changed at a time; each line of the table is a process of its own.
"""

import statistics

from benchmarks import memory, training

CHANGES = [
    {},
    {"batch": 16},
    {"batch": 256},
    {"width": 0.25},
    {"width": 1},
    {"image_size": 16},
    {"image_size": 64},
    {"depth": 50},
]
FIXED = ("depth", "width", "image_size", "batch", "steps")


def main():
    parser = training.parser(__doc__)
    parser.set_defaults(width=0.5, batch=64, rounds=1, steps=3)
    options = parser.parse_args()
    network = f"ResNet-{options.depth} {options.width:g}x, {options.image_size} pixels"
    base = f"{network}, batch {options.batch}"
    print(f"{base}, {options.precision}, and what changes\n\n| | images/s | GB |\n|---|---|---|")
    fixed = [f"--{name}={getattr(options, name)}" for name in FIXED]
    for change in CHANGES:
        flags = [f"--{name}={value}" for name, value in change.items()]
        batch = change.get("batch", options.batch)
        most, rates = memory.measure(memory.OURS, [*fixed, *flags], batch, options)
        rate = statistics.median(rates)
        print(f"| {' '.join(flags) or base} | {rate:.1f} | {most / 1e9:.2f} |", flush=True)


if __name__ == "__main__":
    main()
