"""Which features of a tensorflow-datasets data set are the image and the label."""

from typing import NamedTuple

import numpy as np
from absl import logging

LABEL_NAMES = ("label", "labels", "class", "category", "target", "y", "digit")
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


def image_key(features) -> str | None:
    """The key of the image, None if there is none."""
    import tensorflow_datasets

    kind = tensorflow_datasets.features.Image
    images = [key for key, feature in features.items() if isinstance(feature, kind)]
    return images[0] if images else None


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
    import tensorflow_datasets

    only_label = tensorflow_datasets.decode.PartialDecoding({key: True})
    dataset = builder.as_dataset(split=split, decoders=only_label)
    values = [int(example[key]) for example in dataset.as_numpy_iterator()]
    return np.array(values, np.int64)
