"""The program: a command line -> what it asks for -> exit status.

`run.py` and the command `tf-simclr` of an installed package are this.
"""

import os
import pathlib
import sys

from absl import flags as absl_flags

from tf_simclr import console
from tf_simclr.commands import run as commands
from tf_simclr.config import command_line, origins
from tf_simclr.errors import SHELL_OFFSET, UserError, environment_failure, signal_of
from tf_simclr.runs.interrupts import Watchdog, what_is_kept

HELP = ("-h", "--help", "--helpfull")


def main(argv: list[str]) -> int:
    """Runs a command line.

    Args:
        argv: name of the program, flags, and at most one folder of images.

    Returns:
        The exit status: 0 done, 1 a failure of the environment or training, 2 wrong usage.
    """
    if any(argument in HELP for argument in argv[1:]):
        console.print_text(command_line.help_text())
        return 0
    if "--version" in argv[1:]:
        console.print_text(console.version_text())
        return 0
    console.set_up_logging()
    program = pathlib.Path(argv[0]).name
    directories = []  # of the runs, once they are known

    def kept():
        return what_is_kept(directories)

    try:
        with Watchdog(kept, program):
            stages = commands.parse(argv, absl_flags.FLAGS)
            directories += [settings.train.model_dir for settings in stages]
            commands.run(stages)
    except UserError as error:
        return _end(program, origins.explain(str(error), argv), error.status)
    except KeyboardInterrupt as interrupt:
        return _end(program, f"interrupted; {kept()}", SHELL_OFFSET + signal_of(interrupt))
    except Exception as error:
        failure = environment_failure(error)
        if failure is None:  # a defect: its traceback is wanted
            raise
        return _end(program, failure, failure.status)
    return 0


def _end(program, message, status):
    print(f"{program}: {message}", file=sys.stderr)
    return status


def leave(status: int):
    """Ends the process; after a signal at once, without waiting for threads that still work."""
    if status > SHELL_OFFSET:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def console_script():
    """What `tf-simclr` calls."""
    leave(main(sys.argv))
