"""Digits that were altered, in folders whose classes say how."""

import pathlib
import tempfile

import numpy as np
from PIL import Image

# {folder: {class: function of uint8 [8, 8, 3]}}
ALTERATIONS = {
    "rotation": {
        "0": lambda image: image,
        "90": lambda image: np.rot90(image, 1),
        "180": lambda image: np.rot90(image, 2),
        "270": lambda image: np.rot90(image, 3),
    },
    "brightness": {
        "0.4": lambda image: image * 0.4,
        "0.6": lambda image: image * 0.6,
        "0.8": lambda image: image * 0.8,
        "1.0": lambda image: image,
    },
}


def write_altered_digits(folder: str):
    """Writes each digit once for each alteration: FOLDER/rotation/train/90/17.png and so on.

    Args:
        folder: an alteration that is there stays.
    """
    from tf_simclr.config.data_sections import DataConfig
    from tf_simclr.data import datasets  # late: it takes seconds to import

    for alteration, classes in ALTERATIONS.items():
        path = pathlib.Path(folder, alteration)
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        # A folder of this process alone: several may write at once, and the other appears complete.
        with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
            written = pathlib.Path(temporary, alteration)
            for split, make_source in datasets.digits(DataConfig()).items():
                _write_split(written / split, classes, make_source().records)
            try:
                written.rename(path)
            except OSError:
                if not path.exists():  # else another process was faster
                    raise


def _write_split(path, classes, digits):
    """The digits are dealt to the classes in turn. digits: uint8 [N, 8, 8, 3]."""
    for number, (name, change) in enumerate(classes.items()):
        directory = path / name
        directory.mkdir(parents=True, exist_ok=True)
        for index in range(number, len(digits), len(classes)):
            image = np.ascontiguousarray(change(digits[index]), np.uint8)
            Image.fromarray(image).save(directory / f"{index}.png")
