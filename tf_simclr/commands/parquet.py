"""Parquet files, which need a package that nothing else does."""

import importlib.util

from tf_simclr.errors import UserError

PARQUET = ".parquet"


def require_package(flag: str, suffix: str):
    """Checks, before any work, that a file can be read or written if it is Parquet.

    Args:
        flag: that names the file, with its value.
        suffix: of the file.

    Raises:
        UserError: it can't.
    """
    if suffix == PARQUET and importlib.util.find_spec("pyarrow") is None:
        raise UserError(
            f"{flag}: pyarrow not installed, which {PARQUET} needs; pip install pyarrow, or give a "
            "file of another kind"
        )
