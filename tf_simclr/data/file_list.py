"""Lists of image files: text files with a path a line, and perhaps a label behind it."""

import dataclasses
import io
import os
import re

from tf_simclr.data import image_endings, text_encodings
from tf_simclr.data.label_spellings import without_conflicts
from tf_simclr.errors import UserError

SUFFIXES = (".txt", ".lst")  # of lists
LABEL_BEHIND = re.compile(r"(.+?)[\s,;]+(\S+)")  # a path and a label, as in `a.jpg 3`


@dataclasses.dataclass(frozen=True)
class FileList:
    """What a list says.

    Attributes:
        paths: {name: path} of the images.
        labels: {name: class} of those that have one.
        notes: what was ignored, a line each.
    """

    paths: dict[str, str]
    labels: dict[str, str]
    notes: tuple[str, ...]


def read(path: str) -> FileList:
    """The images of a list; their paths are relative to its folder, or absolute.

    Args:
        path: of the list; empty lines, and those that begin with #, are left out.

    Raises:
        UserError: it is no text, or none of its files is an image that is there.
    """
    folder = os.path.dirname(path)
    paths, labels = {}, {}
    missing = []
    lines = _lines(path)
    for line in lines:
        file, label = _file_and_label(folder, line)
        if file is None:
            missing.append(line)
            continue
        name = os.path.relpath(file, folder or ".") if not os.path.isabs(line) else file
        paths[name] = file
        if label:
            labels.setdefault(name, set()).add(label)
    if not paths:
        example = f", e.g. {lines[0]}" if lines else ""
        raise UserError(
            f"--dataset=folder:{path}: none of its {len(lines)} lines is the path of an image that "
            f"is there{example}; give a folder, or a text file with a path a line, relative to "
            f"it; accepted are {image_endings.accepted()}"
        )
    classes, conflicts = without_conflicts(labels)
    notes = [f"{path}: {note}" for note in conflicts]
    if missing:
        notes.append(
            f"{len(missing)} of {len(lines)} lines of {path} are no images, e.g. {missing[0]}"
        )
    return FileList(paths, classes, tuple(notes))


def _lines(path):
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        reason = error.strerror
        raise UserError(f"--dataset=folder:{path}: it can't be read ({reason})") from None
    if text_encodings.is_utf_16(content):
        text = text_encodings.decode(content)
    else:  # lines may be the bytes of names in several encodings, see `_decoded`
        text = content.decode("utf-8-sig", errors="surrogateescape")
    lines = [line.strip() for line in io.StringIO(text, newline=None)]
    return [line for line in lines if line and not line.startswith("#")]


def _file_and_label(folder, line):
    """(path, label or None) of a line, (None, None) if it is no image that is there."""
    file = _image(folder, line)
    if file is not None:
        return file, None
    match = LABEL_BEHIND.fullmatch(line)
    file = _image(folder, match[1]) if match else None
    return (file, _decoded(match[2])) if file is not None else (None, None)


def _image(folder, text):
    """The path of an image whose name has these bytes, or else these characters."""
    if not image_endings.is_image(text):
        return None
    paths = [os.path.join(folder, name) for name in (text, _decoded(text))]
    return next(filter(os.path.isfile, paths), None)


def _decoded(text):
    """The characters of a text, as of tables, also where its bytes are no UTF-8."""
    return text_encodings.decode(text.encode("utf-8", "surrogateescape"))
