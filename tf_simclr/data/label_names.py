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
        self._relative = {composed(text): name for text, name in self._exact.items()}
        self._by_name = _grouped((os.path.basename(name), name) for name in images)
        self._by_stem = _grouped((_stem(name), name) for name in images)

    def __call__(self, cell: str) -> str | None:
        """The image that a cell means; None if there is none, or several have its name."""
        candidates = self.candidates(cell)
        return candidates[0] if len(candidates) == 1 else None

    def candidates(self, cell: str) -> list[str]:
        """The images that a cell may mean."""
        if cell in self._exact:  # names may begin or end with spaces, or have a backslash
            return [self._exact[cell]]
        cell = composed(cell.strip().replace("\\", "/").removeprefix("./"))
        if not cell:
            return []
        for folder in self._folders:
            name = self._by_path.get(composed(os.path.abspath(os.path.join(folder, cell))))
            if name is not None:
                return [name]
        if cell in self._relative:
            return [self._relative[cell]]
        return self._by_name.get(cell) or self._by_stem.get(cell, [])


def composed(text: str) -> str:
    """A text with each accent in its letter; in the names of files from a Mac they are apart."""
    return unicodedata.normalize("NFC", text)


def _stem(name):
    return os.path.splitext(os.path.basename(name))[0]


def _grouped(pairs):
    """{key: its values}."""
    values = {}
    for key, value in pairs:
        values.setdefault(composed(key), []).append(value)
    return values
