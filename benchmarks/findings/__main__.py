"""Tries a finding of the papers with small trainings: a table and a plot over seeds.

    python -m benchmarks.findings NAME|all --seeds=0,1,2 [FLAGS of run.py]
    python -m benchmarks.findings NAME|all --table

Each finding is a grid of stages over the recipe official_configs/findings/NAME.yaml. The runs are
in ROOT/NAME/seed_N; the same command resumes where the last one stopped, and finished stages are
not trained again. The table is made of their `result.json` alone; --table trains nothing.
"""

import argparse
import pathlib
import sys

import tf_simclr  # noqa: F401  isort: skip  sets the environment before TensorFlow is imported

from benchmarks.findings import grid, runs, simclr, simclrv2, tables
from tf_simclr import console
from tf_simclr.errors import SHELL_OFFSET, UserError, signal_of

FINDINGS = {**simclrv2.FINDINGS, **simclr.FINDINGS}
TABLE, PLOT = "table.md", "plot.png"
INTERRUPTED = "interrupted; run the same command again to resume"


def train(name: str, seeds: list[int], folder: str, flags: list[str]):
    """Trains what is not finished of a finding."""
    finding = FINDINGS[name]
    if finding.make_data is not None:
        finding.make_data(folder)
    for seed in seeds:
        runs.train(runs.configure(name, finding, seed, folder, flags))


def summarize(name: str, folder: str):
    """Prints and writes the table of all seeds, and the plot."""
    finding = FINDINGS[name]
    seeds = runs.seeds_of(folder)
    results = [runs.read_results(finding, folder, seed) for seed in seeds]
    values = tables.collect(finding, results)
    minutes = sum(result["train_minutes"] for of_seed in results for result in of_seed.values())
    num_stages = len(list(grid.stages(finding)))
    is_finished = [len(of_seed) == num_stages for of_seed in results]
    text = (
        f"{finding.claim}\n\n{tables.table(values)}\n\n"
        f"{finding.measure}; {_seeds_text(seeds, is_finished)}: mean ± standard error. "
        f"{num_stages} stages a seed, {minutes:.0f} minutes of training in all.\n\n"
        f"{tables.contrast_table(finding, results)}\n"
    )
    console.print_text(f"{name}: {text}")
    path = pathlib.Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    (path / TABLE).write_text(text, encoding="utf-8")
    tables.write_plot(path / PLOT, finding, values)


def _seeds_text(seeds, is_finished):
    finished = [str(seed) for seed, is_whole in zip(seeds, is_finished) if is_whole]
    unfinished = [str(seed) for seed, is_whole in zip(seeds, is_finished) if not is_whole]
    text = f"seeds {', '.join(finished) or 'none'}"
    return f"{text}, a part of {', '.join(unfinished)}" if unfinished else text


def main(argv: list[str]) -> int:
    """Runs a command line, and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.findings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=[*FINDINGS, "all"])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--root", default="runs/findings")
    parser.add_argument("--table", action="store_true", help="from what was run so far")
    options, flags = parser.parse_known_args(argv)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    console.set_up_logging()
    for name in FINDINGS if options.name == "all" else [options.name]:
        folder = f"{options.root}/{name}"
        try:
            if not options.table:
                train(name, seeds, folder, flags)
        except UserError as error:
            return _end(str(error), error.status)
        except KeyboardInterrupt as interrupt:
            return _end(INTERRUPTED, SHELL_OFFSET + signal_of(interrupt))
        summarize(name, folder)
    return 0


def _end(message, status):
    print(f"findings: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
