"""SimCLR and SimCLRv2 on the command line: `python run.py --help`."""

import sys

from absl import flags as absl_flags
from absl import logging

from tf_simclr import console
from tf_simclr.commands.stages import Stages
from tf_simclr.config import command_line
from tf_simclr.errors import Failed, UserError, environment_failure


def run(stages):
    """Does what the configurations ask for, one after the other."""
    if stages[0].train.mode == "report":
        return Stages(stages).show()
    if stages[0].train.mode in ("export", "embed"):
        return use(stages)
    chain = Stages(
        stages
    )  # looks into all run directories: what is wrong with a later one should show now
    console.start_tensorflow()
    writes = [run_stage(chain, number) for number in range(len(stages)) if not chain.skips(number)]
    if all(writes):
        chain.report()


def use(stages):
    """Exports every stage, or embeds images with the last one."""
    console.start_tensorflow()
    from tf_simclr.commands import embed
    from tf_simclr.export import exporter

    alone = len(stages) == 1
    if stages[0].train.mode == "embed":
        return embed.embed(stages[-1], alone)
    for settings in stages:
        exporter.export_run(settings, alone)


def run_stage(chain, number):
    """Trains, evaluates or both; what it has built in memory is gone at its end. Returns whether this process is the one that writes."""
    import tensorflow as tf  # late: --help and a wrong flag need no TensorFlow

    from tf_simclr import distribute
    from tf_simclr.commands import evaluate
    from tf_simclr.training import loop
    from tf_simclr.training.experiment import Experiment

    settings = chain.built[number]
    experiment = Experiment(
        settings, chain.before(number), chain.built[number + 1 :], chain.commit, chain.root is None
    )
    try:
        if settings.train.mode != "eval":
            loop.fit(experiment)
        if settings.train.mode == "train_then_eval":
            evaluate.evaluate_and_export(experiment)
        elif settings.train.mode == "eval":
            evaluate.evaluate_run(experiment)
    except (
        OSError,
        tf.errors.InvalidArgumentError,
        tf.errors.NotFoundError,
    ):  # what a file that is gone or broken raises
        lost = experiment.unreadable_images()
        if not lost:
            raise
        raise Failed(
            f"{lost[0][0]} can't be read any more ({lost[0][1]}); the same command goes on without it"
        ) from None
    return distribute.is_chief(experiment.strategy)


def main(argv):
    """Runs the command line `argv`; returns the exit status."""
    if any(argument in ("-h", "--help", "--helpfull") for argument in argv[1:]):
        print(command_line.help_text())
        return 0
    console.set_up_logging()
    try:
        command_line.define(absl_flags.FLAGS)
        stages, notes = command_line.parse(argv, absl_flags.FLAGS)
        for note in notes:
            logging.info("%s", note)
        run(stages)
    except UserError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print(
            "run.py: interrupted; the last checkpoint is kept, the same command goes on from there",
            file=sys.stderr,
        )
        return 130
    except Exception as error:
        failure = environment_failure(error)
        if failure is None:  # a defect: its traceback is wanted
            raise
        print(f"run.py: {failure}", file=sys.stderr)
        return failure.status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
