"""Small files, written whole or not at all. No TensorFlow here."""

import contextlib
import os

RESULT = "result.json"  # metrics of the newest evaluation
BEST_RECORD = "best.json"  # of which checkpoint best/ holds the weights


def write_text(path, text):
    """Writes `text` to `path` (epath.Path) in a file beside it, which then takes its place. Raises OSError, and leaves nothing beside it."""
    partial = path.parent / f"{path.name}.{os.getpid()}.partial"  # other processes may write the same file, as an evaluation beside the training
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):  # the directory may be what is wrong
            partial.unlink(missing_ok=True)
        raise
