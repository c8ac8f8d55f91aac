"""Which features of a tensorflow-datasets data set are the image and the label."""

from typing import NamedTuple

import numpy as np
from absl import logging

from tf_simclr.errors import UserError

LABEL_NAMES = ("label", "labels", "class", "category", "target", "y", "digit")
NUM_CHANNELS = (1, 3, None)  # of an image; None: its files say it
IMAGE_TYPES = ("uint8", "uint16")
WAY_OUT = "select three bands, save them as RGB images, and give --dataset=folder:PATH"
LOOKED_AT = 200  # labels of a split, to see whether some are none
MAX_CLASSES = 100_000  # more different numbers than that are no classes
_NUMBERED = {}  # {(path of a data set, key): Label}, since each split asks for it


class Label(NamedTuple):
    """The label of an example.

    Attributes:
        key: of the feature; None: there is no label.
        class_names: of the labels.
        numbers: the number that stands for each class in the data, ascending; None: its place.
    """

    key: str | None = None
    class_names: tuple[str, ...] = ()
    numbers: tuple[int, ...] | None = None


def require_image(features, name: str) -> str:
    """The key of the image, which is gray or RGB, of 8 or 16 bits a value.

    Args:
        features: of the data set, by key.
        name: of the data set, for messages.

    Raises:
        UserError: there is none, or it is of another kind.
    """
    import tensorflow_datasets

    kind = tensorflow_datasets.features.Image
    images = [key for key, feature in features.items() if isinstance(feature, kind)]
    if not images:
        several = [_of_channels(key, feature) for key, feature in features.items()]
        arrays = ", ".join(filter(None, several))
        hint = f"; {arrays}: {WAY_OUT}" if arrays else ""
        raise UserError(
            f"--dataset={name}: it has no image feature, only {', '.join(features)}{hint}"
        )
    (key, *_) = images
    num_channels, dtype = features[key].shape[-1], np.dtype(features[key].np_dtype)
    if num_channels not in NUM_CHANNELS or dtype not in IMAGE_TYPES:
        raise UserError(
            f"--dataset={name}: its feature {key} has {num_channels} channels of {dtype}, accepted "
            f"are 1 or 3 of {' or '.join(IMAGE_TYPES)}; {WAY_OUT}"
        )
    return key


def _of_channels(key, feature):
    """A text about an array that may be an image, e.g. of 13 bands; None for other features."""
    shape = getattr(feature, "shape", None) or ()
    return f"{key} has {shape[-1]} channels" if len(shape) == 3 else None


def label_of(builder, name: str) -> Label:
    """The label that is taken; the log says so where others are left out.

    Args:
        builder: of tensorflow-datasets, prepared.
        name: of the data set, for the log.
    """
    features = builder.info.features
    described = {key: _describe(feature) for key, feature in features.items()}
    candidates = {key: text for key, text in described.items() if text}
    key = _chosen_key(features)
    others = [f"{other} ({text})" for other, text in candidates.items() if other != key]
    label = Label() if key is None else _label(builder, key)
    if others or (key is not None and label.numbers is not None):
        taken = "no label is taken"
        if label.key:
            taken = f"labels are {key} ({len(label.class_names)} classes)"
        left_out = f"; not used: {', '.join(others)}" if others else ""
        logging.info("%s: %s%s", name, taken, left_out)
    return label


def _chosen_key(features):
    """The key of the label: `label`, else another class label, else a number that is called so."""
    classes = [key for key, feature in features.items() if _is_class(feature)]
    numbers = [key for key in LABEL_NAMES if key in features and _is_number(features[key])]
    candidates = [*classes, *numbers]
    if "label" in candidates:
        return "label"
    return candidates[0] if candidates else None


def _is_class(feature):
    import tensorflow_datasets

    return isinstance(feature, tensorflow_datasets.features.ClassLabel)


def _is_number(feature):
    dtype = getattr(feature, "np_dtype", None)
    is_scalar = getattr(feature, "shape", None) == ()
    return is_scalar and dtype is not None and np.issubdtype(dtype, np.integer)


def _describe(feature):
    """What a feature has to do with labels; None: nothing."""
    import tensorflow_datasets

    kinds = tensorflow_datasets.features
    if isinstance(feature, kinds.ClassLabel):
        return f"{feature.num_classes} classes"
    if isinstance(feature, kinds.Sequence) and _is_class(feature.feature):
        return f"several of {feature.feature.num_classes} classes an image"
    inner = getattr(feature, "feature", feature)
    if isinstance(inner, kinds.FeaturesDict):
        keys = [key for key, value in inner.items() if _describe(value)]
        return f"labels of parts of an image: {', '.join(keys)}" if keys else None
    return None


def _label(builder, key):
    feature = builder.info.features[key]
    if _is_class(feature):
        return Label(key, tuple(feature.names))
    path = str(builder.data_path)
    if (path, key) not in _NUMBERED:
        _NUMBERED[path, key] = _numbered(builder, key)
    return _NUMBERED[path, key]


def _numbered(builder, key):
    """The label of a feature of whole numbers, for which all splits are read."""
    numbers = set()
    for split in builder.info.splits:
        numbers.update(read_numbers(builder, split, key).tolist())
    numbers = sorted(number for number in numbers if number >= 0)
    if len(numbers) > MAX_CLASSES:
        logging.warning(
            "%s: %s has %d different numbers, no classes", builder.name, key, len(numbers)
        )
        return Label()
    return Label(key, tuple(map(str, numbers)), tuple(numbers))


def read_numbers(builder, split: str, key: str) -> np.ndarray:
    """The values of a feature of whole numbers, int64 [N]; negative ones mean no label."""
    examples = _numbers(builder, split, key).as_numpy_iterator()
    values = [int(example[key]) for example in examples]
    return np.array(values, np.int64)


def has_unlabeled(builder, split: str, key: str) -> bool:
    """Whether there is no label among the first examples of one of the splits of a sum.

    Data sets that have images without label have them in a split of their own, or everywhere.
    """
    for part in split.split("+"):
        numbers = _numbers(builder, part, key).take(LOOKED_AT).as_numpy_iterator()
        if any(number[key] < 0 for number in numbers):
            return True
    return False


def _numbers(builder, split, key):
    """A data set of {key: value} alone."""
    import tensorflow_datasets

    only_label = tensorflow_datasets.decode.PartialDecoding({key: True})
    return builder.as_dataset(split=split, decoders=only_label)
