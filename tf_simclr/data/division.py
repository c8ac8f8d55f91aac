"""Which images of a folder without splits are held out for the evaluation."""

import dataclasses

import numpy as np

HELD_OUT_SHARE = 0.1  # of each class
MOST_HELD_OUT = 0.2  # of each class; and one, where it has two or more
HEX_DIGITS = 13  # of a digest that decide: as many as a float holds


@dataclasses.dataclass(frozen=True)
class Division:
    """The sides of images.

    An image is held out if the hash of its content is among the lowest tenth of all values. So its
    side depends on nothing else, and copies have the same. `moved` are the exceptions: where chance
    holds out no image of a class, or more than a fifth, the next ones change sides. A run saves
    them, and makes no others later.

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
    held_out = {
        digest for group in members.values() for digest in group if is_held_out(digest, moved)
    }
    mask = np.array([digest in held_out for digest in digests], bool)
    return Division(mask, moved)


def is_held_out(digest: str, moved: dict[str, bool]) -> bool:
    """Whether an image is held out.

    Args:
        digest: of its content.
        moved: the exceptions.
    """
    if digest in moved:
        return moved[digest]
    return int(digest[:HEX_DIGITS], 16) < HELD_OUT_SHARE * 16**HEX_DIGITS


def _exceptions(digests, moved):
    """{digest: side} of what a class needs so that it has enough images on both sides.

    Args:
        digests: of the class, ascending, each once.
        moved: exceptions that were made for other classes.
    """
    held_out = [digest for digest in digests if is_held_out(digest, moved)]
    if not held_out and len(digests) > 1:
        return {digest: True for digest in digests[:1] if digest not in moved}
    most = max(1, int(MOST_HELD_OUT * len(digests))) if len(digests) > 1 else 0
    return {digest: False for digest in held_out[most:] if digest not in moved}
