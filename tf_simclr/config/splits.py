"""Names of splits."""


def overlap(train_split: str, eval_split: str) -> bool:
    """Whether images of the training are surely among those that are evaluated.

    Args:
        train_split: a name, or a slice as in train[:90%].
        eval_split: likewise; two different slices of a split are taken for disjoint.
    """
    if train_split == eval_split:
        return True
    first, second = sorted((train_split, eval_split), key=len)
    return second.startswith(f"{first}[")


def are_disjoint(first: str, second: str) -> bool:
    """Whether two sums of splits and slices have surely no image in common."""
    return not _names(first) & _names(second)


def _names(splits):
    return {part.split("[")[0].strip() for part in splits.split("+")}
