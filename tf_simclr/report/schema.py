"""What a results.json may hold: read, checked, or refused in one line."""

import json

from tf_simclr.errors import UserError

SCHEMA, VERSION = "tf_simclr.results", 1
NAME = "results.json"
NUMBER = (int, float)
POINTS = [[NUMBER]]
AGAIN = "evaluate the run again (--mode=eval)"

# A type or a tuple of them; [kind] is a list of it, {"*": kind} an object of it, None a value that may be null. A key that ends in ? may be missing.
# What is not named here is nobody's business: a newer evaluation may add to it.
KINDS = {
    "run": {
        "name": str,
        "train_mode?": str,
        "dataset?": str,
        "train_split?": str,
        "eval_split?": str,
        "step?": int,
        "total_steps?": int,
        "labels?": int,
        "images?": int,
        "parameters?": int,
        "train_minutes?": NUMBER,
        "evaluated_examples?": int,
        "fitted_examples?": int,
        "class_names?": [str],
        "layers?": [str],
    },
    "flags": {"train_batch_size?": int},
    "environment": {"*": str},
    "command": str,
    "figures": {"*": {"*": {"*": (*NUMBER, None)}}},
    "details": {
        "*": {
            "*": {
                "confusion?": [[int]],
                "per_class_accuracy?": [(*NUMBER, None)],
                "reliability?": [
                    {
                        "from": NUMBER,
                        "to": NUMBER,
                        "confidence": (*NUMBER, None),
                        "accuracy": (*NUMBER, None),
                        "count": int,
                    }
                ],
                "few_labels?": [{"labels_per_class": int, "mean": NUMBER, "std": NUMBER}],
                "knn?": dict,
                "probe?": dict,
            }
        }
    },
    "left_out": [{"network": str, "place": str, "evaluation": str, "reason": str}],
    "images?": {
        "file": str,
        "size": int,
        "columns": int,
        "names": [str],
        "labels": [int],
        "predicted": [(int, None)],
    },
    "map?": {"images": [int], "pca": POINTS, "tsne?": POINTS},
    "neighbors?": [{"query": int, "neighbors": [int], "similarity": [NUMBER]}],
    "mistakes?": [{"image": int, "label": int, "predicted": int, "confidence": NUMBER}],
    "views?": {"file": str, "size": int, "columns": int, "rows": int, "names?": [str]},
    "best?": {"step": int, "criterion": str, "value": NUMBER},
    "transfer?": [
        {
            "dataset": str,
            "classes?": int,
            "labels?": int,
            "test?": int,
            "probe?": (*NUMBER, None),
            "fine_tuned?": (*NUMBER, None),
            "untrained_probe?": (*NUMBER, None),
        }
    ],
}
WORDS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    dict: "an object",
    list: "a list",
    None: "null",
}


def read(directory):
    """The results.json of a run directory (`epath.Path`), checked.

    Raises:
        UserError: there is none, it is damaged, or of another schema or a newer version.
    """
    path = directory / NAME
    try:
        document = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{directory}: it has no {NAME}; give the directory of a run that was evaluated, or {AGAIN}"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: it can't be read ({error}); {AGAIN}") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise UserError(
            f"{path}: it is no file of results (its schema has to be '{SCHEMA}'); give the directory of a run that was evaluated"
        )
    version = document.get("version")
    if version != VERSION:
        raise UserError(
            f"{path}: its version is {version}, this program reads {VERSION}; use the tf_simclr that wrote it, or {AGAIN}"
        )
    wrong = next(_problems(document, KINDS, ""), None) or next(_loose_ends(document), None)
    if wrong:
        raise UserError(f"{path}: damaged: {wrong}; {AGAIN}")
    return document


def _problems(value, kind, where):
    """What is wrong with `value`, in words; nothing if it is of its kind."""
    outer = type(kind) if isinstance(kind, (dict, list)) else kind
    accepted = outer if isinstance(outer, tuple) else (outer,)
    if isinstance(value, bool) or not (
        (value is None and None in accepted)
        or isinstance(value, tuple(one for one in accepted if one))
    ):
        yield f"{where} is {str(value)[:40]!r}, not {' or '.join(WORDS[one] for one in accepted if one is not int or float not in accepted)}"
    elif isinstance(kind, list):
        for number, item in enumerate(value):
            if (
                type(item) is not kind[0]
            ):  # else it is right: the confusions of 1,000 classes are a million numbers
                yield from _problems(item, kind[0], f"{where}[{number}]")
    elif isinstance(kind, dict):
        for key, inner in kind.items():
            for name in value if key == "*" else [key.rstrip("?")]:
                if name in value:
                    yield from _problems(value[name], inner, f"{where}.{name}".lstrip("."))
                elif not key.endswith("?"):
                    yield f"{where}.{name} is missing".lstrip(".")


def _loose_ends(document):
    """Lists that have to be as long as another, and numbers of images that are not there."""
    images, where = document.get("images"), document.get("map", {"images": []})
    for name in ("pca", "tsne"):
        if name in where and [len(point) for point in where[name]] != [2] * len(where["images"]):
            yield f"map.{name} has not two numbers for each of map.images"
    confusion = document["details"].get("trained", {}).get("classifier", {}).get("confusion", [])
    if any(len(row) != len(confusion) for row in confusion):
        yield "confusion is not as wide as high"
    rows = document.get("neighbors", [])
    yield from (
        "neighbors has not one similarity for each image"
        for row in rows
        if len(row["neighbors"]) != len(row["similarity"])
    )
    if images:
        count = len(images["names"])
        if not count == len(images["labels"]) == len(images["predicted"]):
            yield "images.names, images.labels and images.predicted are not of one length"
        used = [
            *where["images"],
            *(one["image"] for one in document.get("mistakes", [])),
            *(index for row in rows for index in [row["query"], *row["neighbors"]]),
        ]
        yield from (
            f"image {index} is used, and there are {count}"
            for index in used
            if not 0 <= index < count
        )
    for name in ("images", "views"):
        sheet = document.get(name)
        if sheet and (
            "/" in sheet["file"]
            or "\\" in sheet["file"]
            or sheet["columns"] < 1
            or sheet["size"] < 1
        ):
            yield f"{name} names {sheet['file']!r} with {sheet['columns']} columns; it has to be a file beside {NAME}, of 1 column or more"
