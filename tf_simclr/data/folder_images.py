"""The images of a data set: those in its folders, or in lists of files."""

import dataclasses
import functools
import os
import pathlib

from tf_simclr.config import label_tables
from tf_simclr.data import file_list, foreign_images, image_endings, image_folder, scan_cache
from tf_simclr.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """All images of a data set, before anything is known of them; compared by identity.

    Attributes:
        folders: that they are in.
        paths: {name: path}.
        groups: {folder: {name relative to it: name}}.
        labels: {name: class}, of lists of files that have labels.
        notes: what was ignored, a line each.
    """

    folders: list[str]
    paths: dict[str, str]
    groups: dict[str, dict[str, str]]
    labels: dict[str, str]
    notes: list[str]


def check_exists(root: str):
    """Checks that there is such a folder or list.

    Raises:
        UserError: there is none.
    """
    path = pathlib.Path(root)
    if path.is_dir() or (path.is_file() and root.lower().endswith(file_list.SUFFIXES)):
        return
    reason = "it is not a folder" if path.exists() else "no such folder"
    accepted = " or ".join(file_list.SUFFIXES)
    raise UserError(
        f"--dataset=folder:{root}: {reason}; give a folder of images, or a list of files that ends "
        f"in {accepted}"
    )


def collect(roots: list[str]) -> Images:
    """All images of folders and lists.

    Raises:
        UserError: no image in one of them, or one that is given twice.
    """
    images = Images([], {}, {}, {}, [])
    for root, prefix in zip(roots, _prefixes(roots)):
        if os.path.isdir(root):
            folder = root
            files = _image_files(root, images.notes)
            start = len(os.path.join(root, ""))
            relative = {path[start:]: path for path in files}
            if not relative:
                raise image_folder.no_images(root, root)
        else:
            folder = os.path.dirname(root) or "."
            listed = file_list.read(root)
            relative = listed.paths
            images.notes.extend(listed.notes)
            images.labels.update({prefix + name: label for name, label in listed.labels.items()})
        images.notes.extend(filter(None, [foreign_images.converted_line(list(relative.values()))]))
        images.folders.append(folder)
        images.groups[root] = {name: prefix + name for name in relative}
        images.paths.update({prefix + name: path for name, path in relative.items()})
    return images


@dataclasses.dataclass(frozen=True)
class _Described:
    """Images by a hash of what they are and of the states of their files, which are looked up."""

    hash: int
    images: Images = dataclasses.field(compare=False)


def as_before(images: Images) -> Images:
    """The images that an earlier call returned, if no file was added, removed or changed since.

    What follows from them can so be kept by their identity.
    """
    names, paths = tuple(images.paths), tuple(images.paths.values())
    labels, notes = tuple(images.labels.items()), tuple(images.notes)
    folders = tuple(map(os.path.realpath, images.folders))
    # Of a million files the states themselves would take 100 MB.
    states = tuple(hash(scan_cache.state(path)) for path in paths)
    return _first(_Described(hash((folders, names, paths, labels, notes, states)), images))


@functools.lru_cache(maxsize=2)  # the labeled and the unlabeled ones
def _first(described):
    return described.images


def _image_files(folder, notes):
    """The images below a folder; `notes` gets how many other files there are."""
    files = image_folder.files_below(folder)
    others = [
        file
        for file in files
        if not image_endings.is_image(file) and not file.lower().endswith(label_tables.SUFFIXES)
    ]
    notes.extend(filter(None, [foreign_images.left_out_line(others)]))
    return [file for file in files if image_endings.is_image(file)]


def _prefixes(roots):
    """What is put before the names of images, so that those of several folders differ."""
    if len(roots) == 1:
        return [""]
    components = [pathlib.PurePath(os.path.abspath(root)).parts for root in roots]
    for count in range(1, max(map(len, components)) + 1):
        prefixes = ["/".join(names[-count:]) + "/" for names in components]
        if len(set(prefixes)) == len(roots):
            return prefixes
    raise UserError(f"--dataset=folder:{roots[0]},...: a folder is given twice; give each once")
