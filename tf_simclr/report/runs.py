"""A run directory as the report sees it."""

import dataclasses
import hashlib
import json

from etils import epath

from tf_simclr.config import Config
from tf_simclr.config.automatic import AUTO, AUTOMATIC
from tf_simclr.config.splits import overlap
from tf_simclr.errors import UserError
from tf_simclr.report import inspection, schema, training_curves
from tf_simclr.report.evaluated import CLASSIFIER
from tf_simclr.report.templates import data_uri
from tf_simclr.report.wording import MISSING


def default_flags() -> dict:
    """{flag: default}, as results.json has them."""
    return json.loads(json.dumps(Config().flat()))


@dataclasses.dataclass(frozen=True)
class Sheet:
    """Images of equal size, row by row in one file.

    Attributes:
        content: of the file.
        columns: images side by side.
        rows: images one below the other.
        size: side of an image in pixels.
    """

    content: bytes
    columns: int
    rows: int
    size: int

    @property
    def key(self) -> str:
        """The same for the same sheet, however many runs have it."""
        digest = hashlib.sha256(self.content).hexdigest()
        return f"sheet-{self.columns}-{self.rows}-{digest[:12]}"

    @property
    def uri(self) -> str:
        """The file as a data: URI."""
        return data_uri(self.content)

    def position(self, index: int) -> tuple[int, int]:
        """(x, y) of an image in the sheet, counted in images."""
        return index % self.columns, index // self.columns


@dataclasses.dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        name: unique on the page.
        directory: of the run.
        document: its results.json.
        curves: {tag: `Curve`} of the training.
        images: thumbnails of test images; None where the file is missing.
        views: augmented views; None where the file is missing.
        inspection: its inspection.json; None where its images were not inspected.
    """

    name: str
    directory: epath.Path
    document: dict
    curves: dict
    images: Sheet | None
    views: Sheet | None
    inspection: dict | None

    def get(self, key: str):
        """What results.json has under `key`, None if nothing."""
        return self.document.get(key)

    @property
    def facts(self) -> dict:
        """What results.json says of the run itself."""
        return self.document["run"]

    @property
    def flags_given(self) -> dict:
        """{flag: value} but for defaults, and for what `auto` would have meant as well."""
        defaults = default_flags()
        flags = {**defaults, **self.get("flags")}
        automatic = {
            name: derive(flags) for name, derive in AUTOMATIC.items() if defaults[name] == AUTO
        }
        given = {}
        for name, value in flags.items():
            if value not in (defaults.get(name), automatic.get(name)):
                given[name] = value
        return given

    @property
    def evaluated_on(self) -> str | None:
        """The split that was evaluated, and whether it was trained on; None if it is not known."""
        split = self.facts.get("eval_split")
        if split and overlap(self.facts.get("train_split", ""), split):
            return f"{split}, the images that were trained on"
        return split

    def details(self, layer: str, name: str, network: str = "trained"):
        """One of the details of an evaluation, None if there is none."""
        return self.document["details"].get(network, {}).get(layer, {}).get(name)

    @property
    def num_classes(self) -> int | None:
        """Number of classes, None if it is not known."""
        num_names = len(self.facts.get("class_names", []))
        return num_names or len(self.details(CLASSIFIER, "confusion") or []) or None

    def class_name(self, label: int | None) -> str:
        """The name of a class, its number where it has none."""
        if label is None or label < 0:
            return MISSING
        names = self.facts.get("class_names", [])
        return names[label] if label < len(names) else str(label)


def read(directories: list) -> list[Run]:
    """The runs of some directories, each once.

    Raises:
        UserError: no directory, or one without a results.json that can be read.
    """
    paths = list(dict.fromkeys(epath.Path(directory) for directory in directories))
    if not paths:
        raise UserError("a report is of one run directory or several; none is given")
    documents = [schema.read(path) for path in paths]
    runs = []
    for name, path, document in zip(_unique_names(paths, documents), paths, documents):
        runs.append(
            Run(
                name,
                path,
                document,
                curves=training_curves.read(path),
                images=_read_images(path, document.get("images")),
                views=_read_views(path, document.get("views")),
                inspection=inspection.read(path),
            )
        )
    return runs


def _unique_names(paths, documents):
    """What runs are called: by their own names.

    Those of one name by as much of their path as tells them apart.
    """
    names = [
        document["run"]["name"] or path.name
        for path, document in zip(paths, documents, strict=True)
    ]
    most_components = max(len(path.parts) for path in paths)
    for count in range(2, most_components + 1):
        repeated = {name for name in names if names.count(name) > 1}
        longer = ["/".join(path.parts[-count:]) for path in paths]
        names = [longer[index] if name in repeated else name for index, name in enumerate(names)]
    return names


def _read_images(path, images):
    if not images:
        return None
    rows = -(-len(images["names"]) // images["columns"])
    return _read_sheet(path, images, rows)


def _read_views(path, views):
    return _read_sheet(path, views, views["rows"]) if views else None


def _read_sheet(path, description, rows):
    file = path / description["file"]
    try:
        return Sheet(file.read_bytes(), description["columns"], rows, description["size"])
    except FileNotFoundError:  # results.json is often passed on alone, and can be read so
        return None
    except OSError as error:
        raise UserError(f"{file}: it can't be read ({error.strerror or error})") from None
