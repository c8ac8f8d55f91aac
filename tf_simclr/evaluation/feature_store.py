"""Features on disk: they are computed once, however often they are evaluated."""

import json
import os
import pathlib
import shutil
from collections.abc import Callable

import numpy as np
from absl import logging

from tf_simclr.runs import files as run_files


class FeatureStore:
    """Keeps arrays {name: [N, ...]} as .npy files, a folder for each set of examples.

    Args:
        directory: None: nothing is kept.
    """

    def __init__(self, directory: pathlib.Path | None):
        self.directory = directory

    def load(self, examples: str, depends_on: str) -> dict[str, np.ndarray] | None:
        """The arrays of some examples as memory maps.

        Args:
            examples: name of the folder.
            depends_on: text that describes all that the arrays depend on.

        Returns:
            None if there are no arrays that depend on the same.
        """
        if self.directory is None:
            return None
        folder = self.directory / examples
        try:
            key = (folder / run_files.FEATURES_KEY).read_text(encoding="utf-8")
            if json.loads(key) != depends_on:
                return None
            paths = sorted(folder.glob("*.npy"))
            return {path.stem: np.load(path, mmap_mode="r") for path in paths}
        except (OSError, ValueError):
            return None

    def compute(
        self,
        examples: str,
        depends_on: str,
        compute: Callable[..., dict[str, np.ndarray]],
        is_kept: Callable[[str], bool],
    ) -> dict[str, np.ndarray]:
        """Computes arrays and keeps some of them.

        Args:
            examples: name of the folder.
            depends_on: see `load`.
            compute: a function of `make`, see `features.feature_mapper`.
            is_kept: name of an array -> whether it is on disk from here on.

        Returns:
            All arrays.
        """
        if self.directory is None:
            return compute()
        folder = self.directory / examples
        # Another process may evaluate the same run.
        partial = self.directory / f"{examples}.{os.getpid()}.partial"

        def make(name, shape, dtype):
            if is_kept(name):
                return _on_disk(partial / f"{name}.npy", shape, dtype)
            return in_memory(name, shape, dtype)

        try:
            partial.mkdir(parents=True)
            arrays = compute(make)
            for name, values in arrays.items():
                is_shorter = not isinstance(values, np.memmap)  # fewer examples than announced
                if is_kept(name) and is_shorter:
                    np.save(partial / f"{name}.npy", values)
            (partial / run_files.FEATURES_KEY).write_text(json.dumps(depends_on), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
            return arrays
        except OSError as error:
            reason = error.strerror or error
            logging.warning("%s: the features are not kept (%s)", folder, reason)
            shutil.rmtree(partial, ignore_errors=True)
            return compute()


def in_memory(name: str, shape: tuple, dtype) -> np.ndarray:
    """An array that is not kept."""
    return np.empty(shape, dtype)


def _on_disk(path, shape, dtype):
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):  # a full disk is noticed here; later it would kill us
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
    return array
