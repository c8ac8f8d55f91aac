"""The table of a chain that ran with several seeds: the mean of each figure, then how far apart its least and its greatest value are.

    python -m benchmarks.seeds RUN_DIRECTORY RUN_DIRECTORY ...
"""

import argparse
import json
import pathlib
import statistics

from tf_simclr import report


def over(runs, reduce):
    """{stage: {name: figures of all runs reduced to one}}; counts are those of the first run, and what isn't in all of them is left out."""
    def value(stage, name, first):
        return reduce([run[stage][name] for run in runs]) if isinstance(first, float) else first

    return {stage: {name: value(stage, name, first) for name, first in results.items() if all(name in run[stage] for run in runs)}
            for stage, results in runs[0].items() if all(stage in run for run in runs)}


def read(path):
    """The `result.json` of a chain: {stage: its figures}."""
    results = json.loads((path / "result.json").read_text())
    if not all(isinstance(stage, dict) and "parameters" in stage for stage in results.values()):
        raise ValueError("it holds a single run")
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=pathlib.Path, help="run directories of the same chain")
    runs = []
    for path in parser.parse_args().runs:
        try:
            runs.append(read(path))
        except (OSError, ValueError) as error:
            parser.error(f"{path}: {getattr(error, 'strerror', None) or error}; give run directories of chains that were evaluated")
    if not over(runs, max):
        parser.error("no stage is in all of them; give run directories of the same chain")
    for what, reduce in (("mean", statistics.fmean), ("greatest minus least", lambda values: max(values) - min(values))):
        print(f"{what} of {len(runs)} runs\n\n{report.stages_table(over(runs, reduce))}\n")


if __name__ == "__main__":
    main()
