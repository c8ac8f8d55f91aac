"""Names of splits."""


def overlap(train_split: str, eval_split: str) -> bool:
    """Whether images of the training are surely among those that are evaluated.

    Args:
        train_split: a name, a slice as in train[:90%], or a sum as in train+validation.
        eval_split: likewise; two different slices of a split are taken for disjoint.
    """
    return any(
        _parts_overlap(trained, evaluated)
        for trained in _parts(train_split)
        for evaluated in _parts(eval_split)
    )


def _parts_overlap(first, second):
    shorter, longer = sorted((first, second), key=len)
    return first == second or longer.startswith(f"{shorter}[")


def are_disjoint(first: str, second: str) -> bool:
    """Whether two sums of splits and slices have surely no image in common."""
    return not _names(first) & _names(second)


def _names(splits):
    return {part.split("[")[0] for part in _parts(splits)}


def _parts(splits):
    return [part.strip() for part in splits.split("+")]
