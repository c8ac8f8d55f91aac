"""Which image a table means, see `label_file`."""

import os

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
        self._by_path = {os.path.abspath(path): name for name, path in images.items()}
        self._tables = [
            {as_text(name): name for name in images},
            _unique((os.path.basename(name), name) for name in images),
            _unique((_stem(name), name) for name in images),
        ]

    def __call__(self, cell: str) -> str | None:
        exact, by_name, by_stem = self._tables
        if cell in exact:  # names may begin or end with spaces, or have a backslash
            return exact[cell]
        cell = cell.strip().replace("\\", "/").removeprefix("./")
        if not cell:
            return None
        for folder in self._folders:
            name = self._by_path.get(os.path.abspath(os.path.join(folder, cell)))
            if name is not None:
                return name
        if "/" in cell:
            return exact.get(cell)
        return by_name.get(cell) or by_stem.get(cell)


def _stem(name):
    return os.path.splitext(os.path.basename(name))[0]


def _unique(pairs):
    """{key: value} of the keys that occur once."""
    values = {}
    for key, value in pairs:
        values.setdefault(key, []).append(value)
    return {key: names[0] for key, names in values.items() if len(names) == 1}
