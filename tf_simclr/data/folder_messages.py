"""What the user is told of folders of images: lines with numbers."""

import collections
import os

from tf_simclr.data import label_file
from tf_simclr.data.label_spellings import spelling_key
from tf_simclr.data.source import as_text, counted, first_names
from tf_simclr.errors import UserError

MAX_NAMED = 12  # classes that are named in a line


class OtherClass(UserError):
    """A split has a class that train does not have.

    Args:
        dataset: as --dataset.
        class_name: that of the split.
        split: its name, or that of its folder.
        class_names: of train.
    """

    def __init__(self, dataset: str, class_name: str, split: str, class_names: tuple[str, ...]):
        super().__init__(
            f"--dataset={dataset}: the class '{class_name}' of {split} is not a class of train "
            f"({first_names(class_names) or 'none'}); add images of it to train, take another "
            "split with --eval_split or --embed_split, or no labels with --labels=none"
        )


def summary(splits: dict, source: str, hint: str) -> str:
    """The layout in one line.

    Args:
        splits: {split: {image: class, None: no label}}.
        source: where the classes are from.
        hint: what to do if they are none; it is left out where there is no class.
    """
    counts = class_counts(splits)
    total = sum(map(len, splits.values()))
    num_unlabeled = total - sum(counts.values())
    explanation = "; ".join(filter(None, (source, hint if counts else "")))
    if not counts:
        return f"{counted(total, 'image')} without labels ({explanation})"
    unlabeled = f"; {counted(num_unlabeled, 'image')} without a label" if num_unlabeled else ""
    return f"{counted(len(counts), 'class')}: {_listed(counts)}{unlabeled} ({explanation})"


def class_counts(splits: dict) -> dict[str, int]:
    """{class: images that have it}, sorted by class."""
    counts = collections.Counter()
    for classes in splits.values():
        counts.update(name for name in classes.values() if name is not None)
    return dict(sorted(counts.items()))


def _listed(counts):
    """Names with their counts, the first ones of many."""
    texts = [f"{as_text(name)} ({count})" for name, count in list(counts.items())[:MAX_NAMED]]
    more = f" and {len(counts) - MAX_NAMED} more" if len(counts) > MAX_NAMED else ""
    return ", ".join(texts) + more


def unused(names: list[str]):
    """Yields how many images are in no split."""
    if names:
        folders = collections.Counter(name.split("/")[0] for name in names)
        yield f"{counted(len(names), 'image')} in no split, and not used: {_listed(folders)}"


def odd_classes(splits: dict):
    """Yields what is odd about the classes: a single one, or names that hardly differ."""
    counts = class_counts(splits)
    if len(counts) == 1:
        (name,) = counts
        yield (
            f"1 class only, {as_text(name)}: pretraining works, but no classifier can be trained "
            "and no accuracy means anything; more class folders or --labels=FILE.csv give more"
        )
    keys = {name: spelling_key(name) for name in counts}
    spellings = collections.Counter(keys.values())
    similar = [name for name, key in keys.items() if spellings[key] > 1]
    if similar:
        yield (
            f"{len(similar)} classes that differ in case, spaces or the encoding of accents alone: "
            f"{first_names(similar)}"
        )


def nested_folders(splits: dict):
    """Yields how many images are deeper than the folder of their class."""
    nested = collections.Counter()
    for classes in splits.values():
        nested.update(_nested_folders(classes))
    if nested:
        yield (
            f"{counted(sum(nested.values()), 'image')} in folders inside a class folder, of the "
            f"same class: {_listed(nested)}"
        )


def tables(folders: list[str]):
    """Yields which tables lie beside the images."""
    for folder in folders:
        names = label_file.unused_tables(folder)
        if names:
            text = counted(len(names), "table")
            yield f"{text} of labels not used; --labels={names[0]} takes the labels of {names[0]}"


def _nested_folders(classes):
    """The folder of each image that is deeper than the folder of its class."""
    for name, class_name in classes.items():
        folder = os.path.dirname(name)
        if class_name is not None and os.path.basename(folder) != class_name:
            yield folder


def copies(digests: dict[str, str], classes: dict):
    """Yields how many images are copies of others.

    Args:
        digests: {image: hash of its content}.
        classes: {image: class or None}.
    """
    groups = {}
    for name, digest in digests.items():
        groups.setdefault(digest, []).append(name)
    copies = [names for names in groups.values() if len(names) > 1]
    if not copies:
        return
    number = sum(len(names) - 1 for names in copies)
    first, second, *_ = copies[0]
    doubtful = [names for names in copies if len({classes[name] for name in names} - {None}) > 1]
    text = f"; {counted(len(doubtful), 'image')} in several classes" if doubtful else ""
    yield (
        f"{counted(number, 'exact copy')} of other images, on the same side of the split as they, "
        f"e.g. {second} of {first}{text}"
    )


def held_out(splits: dict, digests: dict[str, str]):
    """Yields what is held out.

    Args:
        splits: {split: {image: class, None: no label}}.
        digests: {image: hash of its content}.
    """
    validation = splits.get("validation", {})
    total = sum(map(len, splits.values()))
    counts = class_counts({"validation": validation})
    listed = f": {_listed(counts)}" if counts else ""
    yield f"{len(validation)} of {counted(total, 'image')} held out as split validation{listed}"
    contents = {}  # of each class that is trained on: hashes
    for image, name in splits.get("train", {}).items():
        contents.setdefault(name, set()).add(digests[image])
    missing = [name for name in class_counts(splits) if name not in counts]
    single = [name for name in missing if len(contents[name]) == 1]
    yield from _not_evaluated(single, "without a second image to hold out")
    # Only an earlier run, whose division is kept, holds out none of several images.
    yield from _not_evaluated(
        [name for name in missing if name not in single],
        "without a label of an image that an earlier run held out; "
        "--mode=select --select_eval_count=20 asks for some",
    )


def _not_evaluated(names, reason):
    if names:
        listed = ", ".join(map(as_text, names[:MAX_NAMED]))
        number = counted(len(names), "class")
        yield f"{number} trained on and not evaluated, {reason}: {listed}"
