"""`--stage.flag=value` on the command line. No TensorFlow."""

import re

from tf_simclr import config
from tf_simclr.errors import UserError

STAGE_FLAG = re.compile(r"--?([A-Za-z][\w-]*)\.(\w+)=(.*)", re.DOTALL)
STAGE_SWITCH = re.compile(r"--([A-Za-z][\w-]*)\.(\w+)")


def split_off_stage_flags(argv: list[str]) -> tuple[list[str], dict]:
    """Separates the flags of single stages from the other arguments.

    Args:
        argv: arguments; switches of a stage may also be `--stage.flag` and `--stage.noflag`.

    Returns:
        (the other arguments, {stage: {flag name: value}}).

    Raises:
        UserError: a flag that is no switch has no value.
    """
    others = []
    stage_flags = {}
    for argument in argv:
        if match := STAGE_FLAG.fullmatch(argument):
            stage, name, value = match.groups()
        elif match := STAGE_SWITCH.fullmatch(argument):
            stage, name = match.groups()
            name, value = _switch(stage, name)
        else:
            others.append(argument)
            continue
        stage_flags.setdefault(stage, {})[name] = value
    return others, stage_flags


def _switch(stage, name):
    """(name of the flag, value) of a flag of a stage that is given without a value."""
    fields = config.fields()
    for flag, value in ((name, "true"), (name.removeprefix("no"), "false")):
        if flag in fields and fields[flag].type is bool:
            return flag, value
    if name in fields:
        raise UserError(f"--{stage}.{name}: has no value; write flags as --{stage}.{name}=value")
    return name, ""  # which is not known as a flag of the stage
