"""The table of a chain that ran with several seeds: the mean of each figure, then how far apart its least and its greatest value are.

python -m benchmarks.seeds RUN_DIRECTORY RUN_DIRECTORY ...
"""

import argparse
import statistics

from etils import epath

from tf_simclr import report
from tf_simclr.commands.stages import RESULT
from tf_simclr.config import recipes
from tf_simclr.errors import UserError
from tf_simclr.runs.files import read_json

MAY_DIFFER = ("seed", "model_dir", "data_dir")


def over(runs, reduce):
    """{stage: {name: figures of all runs reduced to one}}; counts are those of the first run, and what isn't in all of them is left out."""

    def value(stage, name, first):
        return reduce([run[stage][name] for run in runs]) if isinstance(first, float) else first

    return {
        stage: {
            name: value(stage, name, first)
            for name, first in results.items()
            if all(name in run[stage] for run in runs)
        }
        for stage, results in runs[0].items()
        if all(stage in run for run in runs)
    }


def read(path):
    """(flags that all runs must have in common, {stage: its figures}) of the run directory of a chain."""
    results = read_json(path / RESULT)
    if not results or not all(
        isinstance(stage, dict) and "parameters" in stage for stage in results.values()
    ):
        raise UserError(
            f"{path}: it holds {'a single run' if results else 'no evaluated run'}; give run directories of chains that were evaluated"
        )
    return {
        name: value
        for name, value in (read_json(path / recipes.CONFIG_FILE) or {}).items()
        if name not in MAY_DIFFER
    }, results


def read_all(paths):
    """The figures of the same chain in all `paths`."""
    (expected, _), *others = found = [read(path) for path in paths]
    for path, (values, _) in zip(paths[1:], others):
        different = sorted(
            name for name in {*expected, *values} if expected.get(name) != values.get(name)
        )
        if different:
            raise UserError(
                f"{path}: {', '.join(different)} not as in {paths[0]}; give runs of one chain that differ in --seed only"
            )
    return [results for _, results in found]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "runs", nargs="+", type=epath.Path, help="run directories of the same chain"
    )
    try:
        runs = read_all(parser.parse_args().runs)
    except UserError as error:
        parser.error(str(error))
    if not over(runs, max):
        parser.error("no stage is in all of them yet; run them to their end")
    for what, reduce in (
        ("mean", statistics.fmean),
        ("greatest minus least", lambda values: max(values) - min(values)),
    ):
        print(f"{what} of {len(runs)} runs\n\n{report.stages_table(over(runs, reduce))}\n")


if __name__ == "__main__":
    main()
