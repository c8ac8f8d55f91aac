"""Where the package keeps what it may need again: the user's cache."""

import os
import pathlib


def folder(name: str) -> pathlib.Path:
    """A folder of the user's cache, which need not exist.

    Args:
        name: what is kept in it.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(base, "tf_simclr", name)
