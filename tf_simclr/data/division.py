"""Which images of a folder without splits are held out for the evaluation."""

import dataclasses

import numpy as np

HELD_OUT_SHARE = 0.1  # of each class
HEX_DIGITS = 13  # of a digest that decide: as many as a float holds


@dataclasses.dataclass(frozen=True)
class Division:
    """The sides of images.

    An image is held out if the hash of its content is among the lowest tenth of all values. So its
    side depends on nothing else, and copies have the same. `moved` are the exceptions, made for
    classes that would be without images on one side. A run saves them: later it makes no others.

    Attributes:
        is_held_out: bool [N].
        moved: {digest: whether it is held out}.
    """

    is_held_out: np.ndarray
    moved: dict[str, bool]


def divide(
    digests: list[str], classes: list[str | None], moved: dict[str, bool] | None = None
) -> Division:
    """Divides images.

    Unlabeled images are held out only where no image has a label: an evaluation of classes does not
    use them.

    Args:
        digests: of their contents, hexadecimal.
        classes: of each, None for unlabeled.
        moved: the exceptions that a run has saved; None: they are made.
    """
    members = {}  # of each class: digests without copies
    for digest, name in zip(digests, classes):
        members.setdefault(name, set()).add(digest)
    if len(members) > 1:
        members.pop(None, None)
    if moved is None:
        moved = {}
        for name in sorted(members, key=str):
            moved |= _exceptions(sorted(members[name]), moved)
    held_out = {digest for group in members.values() for digest in group if _side(digest, moved)}
    mask = np.array([digest in held_out for digest in digests], bool)
    return Division(mask, moved)


def _side(digest, moved):
    """Whether an image is held out."""
    if digest in moved:
        return moved[digest]
    return int(digest[:HEX_DIGITS], 16) < HELD_OUT_SHARE * 16**HEX_DIGITS


def _exceptions(digests, moved):
    """{digest: side} for a class that would be without images on one side, else empty.

    Args:
        digests: of the class, ascending, each once.
        moved: exceptions that were made for other classes.
    """
    sides = {_side(digest, moved) for digest in digests}
    free = [digest for digest in digests if digest not in moved]
    if len(sides) > 1 or not free:
        return {}
    if sides == {True}:
        return {free[-1]: False}  # to train on comes first
    return {free[0]: True} if len(digests) > 1 else {}
