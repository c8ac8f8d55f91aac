"""A run directory as the report sees it."""

import base64
import dataclasses
import hashlib

from etils import epath

from tf_simclr.errors import UserError
from tf_simclr.report import schema, training_curves
from tf_simclr.report.metric_names import NONE

TYPES = {b"\xff\xd8": "image/jpeg", b"\x89P": "image/png"}


@dataclasses.dataclass(frozen=True)
class Sheet:
    """Images of equal size in pixels, row by row in one file. `key`: the same for the same sheet, however many runs have it."""

    content: bytes
    columns: int
    rows: int
    size: int

    @property
    def key(self):
        return f"sheet-{self.columns}-{self.rows}-{hashlib.sha256(self.content).hexdigest()[:12]}"

    @property
    def uri(self):
        """The file as a data: URI."""
        return f"data:{TYPES.get(self.content[:2], 'image/jpeg')};base64,{base64.b64encode(self.content).decode()}"

    def place(self, index):
        """(x, y) of an image in the sheet, counted in images."""
        return index % self.columns, index // self.columns


@dataclasses.dataclass(frozen=True)
class Run:
    """One run: `name` is unique on the page; `document` is its results.json; sheets are None where the file is missing."""

    name: str
    directory: epath.Path
    document: dict
    curves: dict
    images: Sheet | None
    views: Sheet | None

    def get(self, key):
        """What results.json has under `key`, None if nothing."""
        return self.document.get(key)

    @property
    def facts(self):
        return self.document["run"]

    def details(self, place, name, network="trained"):
        """One of the details of an evaluation, None if there is none."""
        return self.document["details"].get(network, {}).get(place, {}).get(name)

    @property
    def classes(self):
        """Number of classes, None if it is not known."""
        return (
            len(self.facts.get("class_names", []))
            or len(self.details("classifier", "confusion") or [])
            or None
        )

    def class_name(self, label):
        """The name of a class, its number where it has none."""
        names = self.facts.get("class_names", [])
        return (
            NONE
            if label is None or label < 0
            else names[label]
            if label < len(names)
            else str(label)
        )


def read(directories):
    """The runs of some directories, each once.

    Raises:
        UserError: no directory, or one without a results.json that can be read.
    """
    paths = list(dict.fromkeys(epath.Path(directory) for directory in directories))
    if not paths:
        raise UserError("a report is of one run directory or several; none is given")
    documents = [schema.read(path) for path in paths]
    return [
        Run(
            name,
            path,
            document,
            training_curves.read(path),
            _images(path, document.get("images")),
            _views(path, document.get("views")),
        )
        for name, path, document in zip(_names(paths, documents), paths, documents)
    ]


def _names(paths, documents):
    """What runs are called: by their own names; those of one name by as much of their path as tells them apart."""
    names = [document["run"]["name"] or path.name for path, document in zip(paths, documents)]
    for parts in range(2, max(len(path.parts) for path in paths) + 1):
        again = {name for name in names if names.count(name) > 1}
        names = [
            "/".join(path.parts[-parts:]) if name in again else name
            for name, path in zip(names, paths)
        ]
    return names


def _images(path, images):
    return images and _sheet(path, images, -(-len(images["names"]) // images["columns"]))


def _views(path, views):
    return views and _sheet(path, views, views["rows"])


def _sheet(path, described, rows):
    try:
        return Sheet(
            (path / described["file"]).read_bytes(), described["columns"], rows, described["size"]
        )
    except (
        FileNotFoundError
    ):  # results.json is often passed on alone; what it says can be read without the images
        return None
    except OSError as error:
        raise UserError(
            f"{path / described['file']}: it can't be read ({error.strerror or error})"
        ) from None
