"""Reads the files that --mode=embed writes."""

import dataclasses
import zipfile

import numpy as np
from etils import epath

from tf_simclr.commands.parquet import PARQUET, require_package
from tf_simclr.errors import UserError

NEEDED = ("name", "embedding")
OPTIONAL = ("split", "label")


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """What a file has of each image.

    Attributes:
        names: [N] texts.
        splits: [N] texts, "" if unknown.
        labels: [N] texts, "" if unknown.
        features: float32 [N, C].
    """

    names: np.ndarray
    splits: np.ndarray
    labels: np.ndarray
    features: np.ndarray


def read(path: str, split: str = "") -> Embeddings:
    """The content of a file.

    Args:
        path: of the file, a value of --embeddings.
        split: the only one that is meant; empty: all.

    Raises:
        UserError: it can't be read, lacks a column, or has no image of this split.
    """
    flag = f"--embeddings={path}"
    file = epath.Path(path)
    if file.suffix not in READERS:
        raise UserError(f"{flag}: accepted are files of --mode=embed in {' and '.join(READERS)}")
    require_package(flag, file.suffix)
    try:
        columns = READERS[file.suffix](file)
        embeddings = _checked(flag, columns)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{flag}: it can't be read ({reason}); --mode=embed writes it") from None
    return _of_split(flag, embeddings, split)


def _read_npz(file):
    columns = {}
    with file.open("rb") as opened, np.load(opened) as arrays:
        for name in (*NEEDED, *OPTIONAL):
            if name in arrays:
                columns[name] = arrays[name]
    return columns


def _read_parquet(file):
    from pyarrow import parquet

    columns = {}
    with file.open("rb") as opened:
        table = parquet.ParquetFile(opened)
        known = [name for name in (*NEEDED, *OPTIONAL) if name in table.schema_arrow.names]
        for name, column in zip(known, table.read(known).columns):
            columns[name] = _as_array(column)
    return columns


def _as_array(column):
    """A column of pyarrow; lists of numbers without an object of Python for each number."""
    from pyarrow import types

    is_nested = types.is_list(column.type) or types.is_large_list(column.type)
    if not is_nested or not len(column):
        return np.array(column.to_pylist())
    # Chunk by chunk: the offsets of a single array end at 2^31 numbers.
    values = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    lengths = [chunk.value_lengths().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    if len(np.unique(np.concatenate(lengths))) > 1:
        raise ValueError("its lists of numbers are not all of the same length")
    return np.concatenate(values).reshape(len(column), -1)


READERS = {".npz": _read_npz, PARQUET: _read_parquet}


def _checked(flag, columns):
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise UserError(f"{flag}: it has no column {missing[0]}; give a file of --mode=embed")
    names = columns["name"].astype(str)
    features = np.asarray(columns["embedding"], np.float32)
    if features.ndim != 2 or not features.size or len(features) != len(names):
        raise UserError(
            f"{flag}: embeddings [N, C] of the N={len(names)} images are expected, got an array "
            f"of shape {list(features.shape)}"
        )
    empty = np.full(len(names), "")
    optional = [columns.get(name, empty).astype(str) for name in OPTIONAL]
    return Embeddings(names, *optional, features)


def _of_split(flag, embeddings, split):
    if not split:
        return embeddings
    is_meant = embeddings.splits == split
    if not is_meant.any():
        known = ", ".join(sorted(set(embeddings.splits))) or "none"
        raise UserError(f"--embed_split={split}: {flag} has no such split, only {known}")
    arrays = [getattr(embeddings, field.name) for field in dataclasses.fields(embeddings)]
    return Embeddings(*(array[is_meant] for array in arrays))
