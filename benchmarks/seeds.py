"""The table of a chain that ran with several seeds: the mean of every figure, then how far apart its least and its greatest value are.

    python -m benchmarks.seeds RUN_DIRECTORY RUN_DIRECTORY ...
"""

import argparse
import json
import pathlib

from tf_simclr import report


def over(runs, reduce):
    """{stage: {name: the values of all runs reduced to one}}; what isn't a figure, or isn't in all runs, is left out."""
    return {stage: {name: reduce([run[stage][name] for run in runs]) for name, value in runs[0][stage].items()
                    if isinstance(value, (int, float)) and all(name in run[stage] for run in runs)}
            for stage in runs[0] if all(stage in run for run in runs)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="run directories of the same chain")
    runs = [json.loads((pathlib.Path(path) / "result.json").read_text()) for path in parser.parse_args().runs]
    for what, reduce in (("mean", lambda values: type(values[0])(sum(values) / len(values))), ("greatest minus least", lambda values: max(values) - min(values))):
        print(f"{what} of {len(runs)} runs\n\n{report.stages_table(over(runs, reduce))}\n")


if __name__ == "__main__":
    main()
