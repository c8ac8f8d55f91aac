"""The table of a chain that ran with several seeds: mean and spread of each metric.

    python -m benchmarks.seeds RUN_DIRECTORY RUN_DIRECTORY ...

The spread is the greatest value minus the least.
"""

import argparse
import statistics

from etils import epath

from tf_simclr import report
from tf_simclr.errors import UserError
from tf_simclr.runs import files as run_files

MAY_DIFFER = ("seed", "model_dir", "data_dir")


def spread(values):
    return max(values) - min(values)


def over_runs(runs, reduce):
    """The metrics of all runs reduced to one.

    Args:
        runs: [{stage: {metric name: value}}].
        reduce: a function of the values of a metric.

    Returns:
        {stage: {metric name: value}} of what is in all runs; counts are those of the first run.
    """
    first, *others = runs
    table = {}
    for stage, results in first.items():
        if not all(stage in run for run in others):
            continue
        table[stage] = {}
        for name, value in results.items():
            if not all(name in run[stage] for run in others):
                continue
            if isinstance(value, float):
                value = reduce([run[stage][name] for run in runs])
            table[stage][name] = value
    return table


def read(path):
    """(flags that all runs must have in common, {stage: {metric name: value}}) of a chain's run."""
    results = run_files.read_json(path / run_files.RESULT)
    if not results:
        raise UserError(f"{path}: it holds no evaluated run; give run directories of chains")
    for stage in results.values():
        if not isinstance(stage, dict) or "parameters" not in stage:
            raise UserError(f"{path}: it holds a single run; give run directories of chains")
    flags = run_files.read_json(path / run_files.CONFIG) or {}
    return {name: value for name, value in flags.items() if name not in MAY_DIFFER}, results


def read_all(paths):
    """[{stage: {metric name: value}}] of the same chain in all `paths`."""
    expected, first_results = read(paths[0])
    runs = [first_results]
    for path in paths[1:]:
        flags, results = read(path)
        names = {*expected, *flags}
        different = sorted(name for name in names if expected.get(name) != flags.get(name))
        if different:
            raise UserError(
                f"{path}: {', '.join(different)} not as in {paths[0]}; give runs of one chain that "
                "differ in --seed only"
            )
        runs.append(results)
    return runs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    help_text = "run directories of the same chain"
    parser.add_argument("runs", nargs="+", type=epath.Path, help=help_text)
    try:
        runs = read_all(parser.parse_args().runs)
    except UserError as error:
        parser.error(str(error))
    if not over_runs(runs, max):
        parser.error("no stage is in all of them yet; run them to their end")
    for title, reduce in (("mean", statistics.fmean), ("greatest minus least", spread)):
        print(f"{title} of {len(runs)} runs\n\n{report.stages_table(over_runs(runs, reduce))}\n")


if __name__ == "__main__":
    main()
