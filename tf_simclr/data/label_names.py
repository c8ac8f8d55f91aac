"""Which image a table means, see `label_file`."""

import os
import unicodedata

from tf_simclr.data.source import as_text


class ImageResolver:
    """Finds the image that a cell of a table means.

    By its path, else its name, else that without ending.

    Args:
        images: {name: path} of all images.
        folders: that paths may be relative to.
    """

    def __init__(self, images, folders):
        self._folders = folders
        self._by_path = {composed(os.path.abspath(path)): name for name, path in images.items()}
        self._exact = {as_text(name): name for name in images}
        self._tables = [
            {composed(text): name for text, name in self._exact.items()},
            _unique((os.path.basename(name), name) for name in images),
            _unique((_stem(name), name) for name in images),
        ]

    def __call__(self, cell: str) -> str | None:
        if cell in self._exact:  # names may begin or end with spaces, or have a backslash
            return self._exact[cell]
        relative, by_name, by_stem = self._tables
        cell = composed(cell.strip().replace("\\", "/").removeprefix("./"))
        if not cell:
            return None
        for folder in self._folders:
            name = self._by_path.get(composed(os.path.abspath(os.path.join(folder, cell))))
            if name is not None:
                return name
        if "/" in cell:
            return relative.get(cell)
        return by_name.get(cell) or by_stem.get(cell)


def composed(text: str) -> str:
    """A text with each accent in its letter; in the names of files from a Mac they are apart."""
    return unicodedata.normalize("NFC", text)


def _stem(name):
    return os.path.splitext(os.path.basename(name))[0]


def _unique(pairs):
    """{key: value} of the keys that occur once."""
    values = {}
    for key, value in pairs:
        values.setdefault(composed(key), []).append(value)
    return {key: names[0] for key, names in values.items() if len(names) == 1}
