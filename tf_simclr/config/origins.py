"""Where the value of a flag is from that an error message names."""

import re

from tf_simclr import config
from tf_simclr.config import recipes
from tf_simclr.config.values import as_text
from tf_simclr.errors import UserError

SUBJECT = re.compile(r"--(\w+)=")  # how messages begin


def explain(message: str, argv: list[str]) -> str:
    """A message that blames a flag which the user did not give; then it says whose value that is.

    Args:
        message: of an error.
        argv: the command line.
    """
    match = SUBJECT.match(message)
    if not match or match[1] not in config.fields() or _is_given(match[1], argv):
        return message
    name = match[1]
    value = message[match.end() :]
    recipe = _value_of("config", argv)
    if recipe and any(value.startswith(f"{as_text(text)}: ") for text in _values_in(recipe, name)):
        return f"{message} (--{name} is as in --config={recipe})"
    if not recipe and value.startswith(f"{as_text(config.fields()[name].default)}: "):
        return f"{message} (--{name} has its default)"
    return message


def _is_given(name, argv):
    return any(re.match(rf"--?(\w+\.)?(no)?{name}(=|$)", argument) for argument in argv)


def _value_of(name, argv):
    values = [argument.split("=", 1)[1] for argument in argv if argument.startswith(f"--{name}=")]
    return values[-1] if values else ""


def _values_in(recipe, name):
    """The values of a flag in a recipe and its sections."""
    try:
        values = recipes.read(recipes.find(recipe))
    except UserError:
        return []
    sections = [section for section in values.values() if isinstance(section, dict)]
    return [section[name] for section in (values, *sections) if name in section]
