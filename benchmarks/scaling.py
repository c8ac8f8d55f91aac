"""How images/s and memory change with batch, width, image size and depth: `python -m benchmarks.scaling`.

One thing is changed at a time; each row is a process of its own.
"""

import statistics

from benchmarks import memory, training

CHANGES = [
    [],
    ["--batch=16"],
    ["--batch=256"],
    ["--width=0.25"],
    ["--width=1"],
    ["--image_size=16"],
    ["--image_size=64"],
    ["--depth=50"],
]


def main():
    parser = training.parser(__doc__)
    parser.set_defaults(width=0.5, batch=64, rounds=1, steps=3)
    options = parser.parse_args()
    base = f"ResNet-{options.depth} {options.width:g}x, {options.image_size} pixels, batch {options.batch}"
    print(f"{base}, {options.precision}, and what changes\n\n| | images/s | GB |\n|---|---|---|")
    fixed = [
        f"--{name}={getattr(options, name)}"
        for name in ("depth", "width", "image_size", "batch", "steps")
    ]
    for change in CHANGES:
        peak, rates = 0, []
        for _ in range(options.rounds):
            found, *seconds = training.run(
                "benchmarks.memory", memory.OURS, options, *fixed, *change
            )
            batch = next(
                (
                    int(flag.removeprefix("--batch="))
                    for flag in change
                    if flag.startswith("--batch=")
                ),
                options.batch,
            )
            peak, rates = max(peak, found), rates + [batch / s for s in seconds]
        print(
            f"| {' '.join(change) or base} | {statistics.median(rates):.1f} | {peak / 1e9:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
