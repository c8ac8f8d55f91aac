"""SimCLR and SimCLRv2 on the command line: `python run.py --help`."""

import logging as std_logging
import os
import sys

from absl import flags as absl_flags
from absl import logging

from tf_simclr import flags
from tf_simclr.config import UserError
from tf_simclr.stages import Stages


def start_tensorflow():
    """Imports TensorFlow without its start-up messages, which no setting silences; TF_CPP_MIN_LOG_LEVEL=0 shows them."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] not in ("0", "1"):
        os.dup2(nowhere, 2)
    try:
        import tensorflow as tf

        tf.config.list_physical_devices()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def run(stages):
    """Does what the configurations ask for, one after the other."""
    if stages[0].train.mode in ("export", "embed"):
        return use(stages)
    chain = Stages(stages)  # looks into all run directories: what is wrong with a later one should show now
    start_tensorflow()
    writes = [run_stage(chain, number) for number in range(len(stages)) if not chain.skips(number)]
    if all(writes):
        chain.report()


def use(stages):
    """Exports every stage, or embeds images with the last one."""
    start_tensorflow()
    from tf_simclr import embed, export

    alone = len(stages) == 1
    if stages[0].train.mode == "embed":
        return embed.embed(stages[-1], alone)
    for settings in stages:
        export.export_run(settings, alone)


def run_stage(chain, number):
    """Trains, evaluates or both; what it has built in memory is gone at its end. Returns whether this process is the one that writes."""
    from tf_simclr import distribute, evaluate, train  # late: --help and a wrong flag need no TensorFlow
    from tf_simclr.experiment import Experiment

    settings = chain.built[number]
    experiment = Experiment(settings, chain.before(number), chain.built[number + 1:], chain.commit, chain.root is None)
    if settings.train.mode != "eval":
        train.fit(experiment)
    if settings.train.mode == "train_then_eval":
        evaluate.evaluate_and_export(experiment)
    elif settings.train.mode == "eval":
        evaluate.evaluate_run(experiment)
    return distribute.is_chief(experiment.strategy)


def is_for_the_user(record):
    """Our own messages, and the warnings of libraries that are not about their programmers' affairs."""
    ours = "-packages" not in record.pathname
    return ours or (record.levelno >= std_logging.WARNING and "deprecated" not in record.getMessage())


def main(argv):
    """Runs the command line `argv`; returns the exit status."""
    if any(argument in ("-h", "--help", "--helpfull") for argument in argv[1:]):
        print(flags.help_text())
        return 0
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    handler = logging.get_absl_handler()
    handler.setFormatter(std_logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(is_for_the_user)
    try:
        flags.define(absl_flags.FLAGS)
        stages, notes = flags.parse(argv, absl_flags.FLAGS)
        for note in notes:
            logging.info("%s", note)
        run(stages)
    except UserError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("run.py: interrupted; the last checkpoint is kept, the same command goes on from there", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
