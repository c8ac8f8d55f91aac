"""Which class an image has that is labeled several times, or in several spellings."""

import collections

from tf_simclr.data.label_names import composed
from tf_simclr.data.source import counted

# How programs write that there is no value, in lower case. NA may be Namibia, none a class.
MISSING_VALUES = ("nan", "na", "n/a", "#n/a", "null", "none")


def spelling_key(name: str) -> str:
    """A text that is the same for names that differ in case, spaces or accents' encoding alone."""
    return composed(" ".join(name.split())).casefold()


def unite_spellings(spellings: dict[str, list[str]]) -> tuple[dict[str, set[str]], list[str]]:
    """What differs in case or spaces alone is one class.

    Args:
        spellings: {image: its labels as they are written}.

    Returns:
        {image: its classes}, and notes.
    """
    counts = collections.Counter(label for labels in spellings.values() for label in labels)
    variants = {}
    for label in counts:
        variants.setdefault(spelling_key(label), []).append(label)
    names, notes = {}, []
    for labels in variants.values():
        most_frequent = max(labels, key=counts.__getitem__)
        name = " ".join(most_frequent.split())
        names.update(dict.fromkeys(labels, name))
        others = [label for label in labels if label != most_frequent]
        if others:
            number = sum(counts[label] for label in others)
            texts = ", ".join(map(repr, others))
            text = counted(number, "label")
            notes.append(f"{text} {texts} taken as another spelling of '{name}'")
    united = {image: {names[label] for label in labels} for image, labels in spellings.items()}
    return united, _summarized(notes)


def without_conflicts(classes: dict[str, set[str]]) -> tuple[dict[str, str], list[str]]:
    """An image with several classes has none.

    Args:
        classes: {image: its classes}.

    Returns:
        {image: its only class}, and notes.
    """
    unique = {image: min(names) for image, names in classes.items() if len(names) == 1}
    conflicts = [image for image, names in classes.items() if len(names) > 1]
    if not conflicts:
        return unique, []
    example = conflicts[0]
    names = " and ".join(sorted(classes[example]))
    number = counted(len(conflicts), "image")
    note = f"{number} with different labels in it, which get none, e.g. {example}"
    return unique, [f"{note} ({names})"]


def like_missing_values(classes: dict[str, str]) -> list[str]:
    """A note where classes are called as programs write a missing value; they stay classes.

    Args:
        classes: {image: class}.
    """
    counts = collections.Counter(classes.values())
    names = sorted(name for name in counts if name.casefold() in MISSING_VALUES)
    if not names:
        return []
    number = counted(sum(counts[name] for name in names), "image")
    return [
        f"{number} of class {' and '.join(names)}; if that means that the label is missing, leave "
        "its cell empty"
    ]


def _summarized(notes):
    """One line for all spellings."""
    if len(notes) < 2:
        return notes
    return [f"{notes[0]}; so are the spellings of {len(notes) - 1} more classes"]
