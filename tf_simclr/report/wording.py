"""Texts of a report."""


def capitalized(text: str) -> str:
    """With a capital first letter."""
    return text[:1].upper() + text[1:]
