"""Values of flags: from text, YAML and JSON to their type, back to text, and whether in range."""

import math
import os

from tf_simclr.errors import UserError, did_you_mean

SMALLEST_POSITIVE = 1e-12  # the lower bound of what has to be above zero
FOLDER = "folder:"  # before the path of a folder, among names of data sets
MAX_INT32 = 2**31 - 1  # what TensorFlow takes as an int32
BOOLEANS = {
    "true": True,
    "t": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "f": False,
    "0": False,
    "no": False,
    "off": False,
}
EXPECTED = {  # what a type accepts, in words
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple[str, ...]: "names with commas between",
    tuple[float, float]: "two numbers: a,b",
}


def convert(value, kind: type):
    """Converts a value from YAML, JSON or the command line.

    Args:
        value: a text, or what YAML or JSON made of it.
        kind: a key of `EXPECTED`.

    Returns:
        The value as a `kind`.

    Raises:
        ValueError, TypeError, KeyError, OverflowError: it isn't one.
    """
    if kind is bool:
        return value if isinstance(value, bool) else BOOLEANS[str(value).lower()]
    if isinstance(value, bool) or value is None:
        raise ValueError
    return CONVERTERS[kind](value)


def _whole_number(value):
    if isinstance(value, float) and value != int(value):
        raise ValueError
    return int(value)


def _finite_number(value):
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    return number


def _text(value):
    if isinstance(value, (list, tuple, dict, set)):
        raise ValueError
    return _expand_home(str(value))


def _names(value):
    items = value.split(",") if isinstance(value, str) else value
    names = [str.strip(item) for item in items]
    return tuple(_expand_home(name) for name in names if name)


def _two_numbers(value):
    first, second = value.split(",") if isinstance(value, str) else value
    return _finite_number(first), _finite_number(second)


CONVERTERS = {
    int: _whole_number,
    float: _finite_number,
    str: _text,
    tuple[str, ...]: _names,
    tuple[float, float]: _two_numbers,
}


def _expand_home(text):
    """Replaces `~` in a path, also after each `folder:`, where no shell sees it."""
    first, *others = text.split(FOLDER)
    return FOLDER.join(map(os.path.expanduser, (first, *others)))


def data_set(text: str) -> str:
    """The name of a data set, where the path of a folder means `folder:PATH`.

    A name without a slash may be that of a data set: `datasets` looks which it is.
    """
    is_path = text.startswith((".", "/")) or ("/" in text and os.path.isdir(text))
    return f"{FOLDER}{text}" if is_path else text


def same_data_set(first: str, second: str) -> bool:
    """Whether two names are of one data set: a folder may be called in several ways."""
    return _folders_or_name(first) == _folders_or_name(second)


def _folders_or_name(text):
    if not text.startswith(FOLDER) and not os.path.isdir(text):
        return text
    return [os.path.realpath(folder) for folder in folders_of(text)]


def folders_of(name: str) -> list[str]:
    """The folders and lists that `folder:A,folder:B` names."""
    return name.removeprefix(FOLDER).split(f",{FOLDER}")


def directory_of(folder_or_list: str) -> str:
    """A folder itself, or the one that a list of files is in; empty: the working directory."""
    is_folder = os.path.isdir(folder_or_list)
    return folder_or_list if is_folder else os.path.dirname(folder_or_list)


def as_text(value) -> str:
    """A value as one would write it on the command line, numbers as short as they can be."""
    if isinstance(value, tuple):
        return ",".join(map(as_text, value))
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def as_flag(name: str, value) -> str:
    """A flag with its value as it stands on a command line, to the last digit."""
    text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    return f"--{name}={text}"


def check(name: str, field, value):
    """Checks a value against what its flag accepts.

    Args:
        name: of the flag, for the message.
        field: `config.Field`.
        value: of the field's type.

    Raises:
        UserError: it is none of the choices, or out of range.
    """
    if field.choices is not None:
        _check_choices(name, field, value)
    elif field.type != tuple[str, ...]:
        _check_range(name, field, value)


def _check_choices(name, field, value):
    for choice in value if isinstance(value, tuple) else (value,):
        if choice not in field.choices:
            accepted = ", ".join(map(str, field.choices))
            hint = did_you_mean(choice, field.choices)
            raise UserError(f"--{name}={choice}: accepted are {accepted}.{hint}")


def _check_range(name, field, value):
    numbers = value if isinstance(value, tuple) else (value,)
    defaults = field.default if isinstance(value, tuple) else (field.default,)
    accepted = [
        number if _is_in_range(field, number) else default
        for number, default in zip(numbers, defaults)
    ]
    if accepted != list(numbers):
        example = as_text(tuple(sorted(accepted)))
        raise UserError(
            f"--{name}={as_text(value)}: it has to be {_range_in_words(field)}, "
            f"e.g. --{name}={example}"
        )


def _is_in_range(field, number):
    is_high_enough = field.low is None or number >= field.low
    is_low_enough = field.high is None or number <= field.high
    return is_high_enough and is_low_enough


def _range_in_words(field):
    limits = []
    if field.low == SMALLEST_POSITIVE:
        limits.append("more than 0")
    elif field.low is not None:
        limits.append(f"at least {as_text(field.low)}")
    if field.high is not None:
        limits.append(f"at most {as_text(field.high)}")
    return " and ".join(limits)
