"""Features on disk: they are computed once, however often they are evaluated."""

import json
import os
import shutil

import numpy as np
from absl import logging

ASKED = "asked.json"  # in the folder of an array's parts: what they are of


class FeatureStore:
    """Keeps rows {name: array [N, ...]} as .npy files, a folder for each key.

    Args:
        directory: `pathlib.Path`, or None: nothing is kept.
    """

    def __init__(self, directory):
        self.directory = directory

    def load(self, key, asked):
        """The rows as memory maps; None if there are none that depend on the text `asked`."""
        if self.directory is None:
            return None
        try:
            if json.loads((self.directory / key / ASKED).read_text()) != asked:
                return None
            return {
                path.stem: np.load(path, mmap_mode="r")
                for path in sorted((self.directory / key).glob("*.npy"))
            }
        except (OSError, ValueError):
            return None

    def keep(self, key, asked, compute, kept):
        """What `compute(make)` gives, see `features.mapper`; of its rows those with `kept(name)` are on disk from here on."""
        if self.directory is None:
            return compute()
        final, place = (
            self.directory / key,
            self.directory / f"{key}.{os.getpid()}.partial",
        )  # another process may evaluate the same run
        try:
            place.mkdir(parents=True)
            rows = compute(
                lambda name, *form: (
                    _on_disk(place / f"{name}.npy", *form) if kept(name) else in_memory(name, *form)
                )
            )
            for name, values in rows.items():
                if kept(name) and not isinstance(values, np.memmap):  # fewer than announced
                    np.save(place / f"{name}.npy", values)
            (place / ASKED).write_text(json.dumps(asked))
            shutil.rmtree(final, ignore_errors=True)
            place.rename(final)
            return rows
        except OSError as error:
            logging.warning("%s: the features are not kept (%s)", final, error.strerror or error)
            shutil.rmtree(place, ignore_errors=True)
            return compute()


def in_memory(name, shape, dtype):
    """An array that is not kept."""
    return np.empty(shape, dtype)


def _on_disk(path, shape, dtype):
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(
        os, "posix_fallocate"
    ):  # a full disk is noticed here; later it would kill the process
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
    return array
