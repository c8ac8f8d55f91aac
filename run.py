"""SimCLR and SimCLRv2 on the command line: `python run.py --help`."""

import sys

from absl import flags as absl_flags
from absl import logging

from tf_simclr import console
from tf_simclr.commands import run as commands
from tf_simclr.config import command_line, origins
from tf_simclr.errors import UserError, environment_failure

HELP = ("-h", "--help", "--helpfull")
STATUS_OF_INTERRUPT = 130  # 128 + SIGINT, as shells report it


def main(argv: list[str]) -> int:
    """Runs a command line.

    Args:
        argv: name of the program, flags, and at most one folder of images.

    Returns:
        The exit status: 0 done, 1 a failure of the environment or training, 2 wrong usage.
    """
    if any(argument in HELP for argument in argv[1:]):
        print(command_line.help_text())
        return 0
    if "--version" in argv[1:]:
        print(console.version_text())
        return 0
    console.set_up_logging()
    try:
        command_line.define(absl_flags.FLAGS)
        stages, notes = command_line.parse(argv, absl_flags.FLAGS, commands.make_recipe)
        for note in notes:
            logging.info("%s", note)
        commands.run(stages)
    except UserError as error:
        return _end(origins.explain(str(error), argv), error.status)
    except KeyboardInterrupt:
        message = "interrupted; the last checkpoint is kept, run the same command again to resume"
        return _end(message, STATUS_OF_INTERRUPT)
    except Exception as error:
        failure = environment_failure(error)
        if failure is None:  # a defect: its traceback is wanted
            raise
        return _end(failure, failure.status)
    return 0


def _end(message, status):
    print(f"run.py: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv))
