"""Texts of a report."""

MISSING = "–"  # where there is no value
SPECIAL_VALUES = {"True": "true", "False": "false", "None": MISSING, "": MISSING}
MIN_TAIL = 8  # characters that are kept of the end of a name


def capitalized(text: str) -> str:
    """With a capital first letter."""
    return text[:1].upper() + text[1:]


def shortened(name: str, length: int) -> str:
    """A name in at most `length` characters; what tells names from others is often at their end."""
    if len(name) <= length:
        return name
    tail = max(MIN_TAIL, 3 * length // 8)
    return f"{name[: length - tail - 1]}…{name[-tail:]}"


def duration(minutes: float) -> str:
    """A time in words, below a minute in seconds."""
    return f"{60 * minutes:.0f} s" if minutes < 1 else f"{minutes:.1f} min"


def value_text(value) -> str:
    """A number or a flag's value in a table."""
    if value in (None, ""):
        return MISSING
    is_whole_number = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:,}" if is_whole_number else flag_text(value)


def flag_text(value) -> str:
    """A flag's value as one would give it."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(flag_text, value)) or MISSING
    if isinstance(value, float):
        return f"{value:.6g}"
    return SPECIAL_VALUES.get(str(value), str(value))
