"""What a results.json may hold: read, checked, or refused in one line."""

import json

from tf_simclr.errors import UserError
from tf_simclr.report import image_bits
from tf_simclr.runs import files as run_files

SCHEMA = "tf_simclr.results"
VERSION = 1
NUMBER = (int, float)
OPTIONAL_NUMBER = (*NUMBER, None)
POINTS = [[NUMBER]]
AGAIN = "evaluate the run again (--mode=eval)"

# A type or a tuple of them; [kind] is a list of it, {"*": kind} an object of it, None a value that
# may be null. A key that ends in ? may be missing. What is not named here is not checked: a newer
# evaluation may add to it.
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
        "learned_labels?": bool,
        "evaluated_examples?": int,
        "fitted_examples?": int,
        "class_names?": [str],
        "layers?": [str],
    },
    "flags": {"train_batch_size?": int},
    "environment": {"*": str},
    "command": str,
    "figures": {"*": {"*": {"*": OPTIONAL_NUMBER}}},
    "details": {
        "*": {
            "*": {
                "confusion?": [[int]],
                "per_class_accuracy?": [OPTIONAL_NUMBER],
                "never_predicted?": [int],
                "calibration_error_by_chance?": NUMBER,
                "calibrated_calibration_error_by_chance?": NUMBER,
                "reliability?": [
                    {
                        "from": NUMBER,
                        "to": NUMBER,
                        "confidence": OPTIONAL_NUMBER,
                        "accuracy": OPTIONAL_NUMBER,
                        "count": int,
                    }
                ],
                "few_labels?": [
                    {
                        "labels_per_class": int,
                        "labels?": int,
                        "mean": NUMBER,
                        "std": NUMBER,
                        "draws?": [NUMBER],
                    }
                ],
                "label_law?": {
                    "labels": int,
                    "limit": int,
                    "reason": (str, None),
                    "targets": [
                        {
                            "accuracy": NUMBER,
                            "labels": (int, None),
                            "low": (int, None),
                            "high": (int, None),
                        }
                    ],
                    "law?": {
                        "factor": NUMBER,
                        "exponent": NUMBER,
                        "offset": NUMBER,
                        "ceiling": NUMBER,
                    },
                    "band": [{"labels": int, "accuracy": NUMBER, "low": NUMBER, "high": NUMBER}],
                },
                "knn?": dict,
                "probe?": dict,
                "classifier_correct?": image_bits.KIND,
                "probe_correct?": image_bits.KIND,
                "class_counts?": [int],
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
    "training_copies?": {
        "images": int,
        "evaluated": int,
        "compared": int,
        "skipped?": int,
        "which?": image_bits.KIND,
    },
    "held_out_choice?": {"subject": str, "chosen": str, "scores": {"*": [NUMBER]}, "held_out": int},
    "best?": {"step": int, "criterion": str, "value": NUMBER},
    "transfer?": [
        {
            "dataset": str,
            "classes?": int,
            "labels?": int,
            "test?": int,
            "probe?": OPTIONAL_NUMBER,
            "fine_tuned?": OPTIONAL_NUMBER,
            "untrained_probe?": OPTIONAL_NUMBER,
        }
    ],
}
WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    dict: "an object",
    list: "a list",
    None: "null",
}


def read(directory) -> dict:
    """The results.json of a run, checked.

    Args:
        directory: `epath.Path` of the run.

    Raises:
        UserError: there is none, it is damaged, or of another schema or a newer version.
    """
    path = directory / run_files.RESULTS
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{directory}: it has no {run_files.RESULTS}; give the directory of a run that was "
            f"evaluated, or {AGAIN}"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: it can't be read ({error}); {AGAIN}") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise UserError(
            f"{path}: it is no file of results (its schema has to be '{SCHEMA}'); give the "
            "directory of a run that was evaluated"
        )
    version = document.get("version")
    if version != VERSION:
        raise UserError(
            f"{path}: its version is {version}, this program reads {VERSION}; use the tf_simclr "
            f"that wrote it, or {AGAIN}"
        )
    problem = next(problems(document, KINDS), None)
    problem = problem or next(_inconsistencies(document), None)
    if problem:
        raise UserError(f"{path}: damaged: {problem}; {AGAIN}")
    return document


def problems(value, kind, path: str = ""):
    """Yields what is wrong with `value`, in words; nothing if it is of its kind.

    Args:
        value: of a JSON file.
        kind: as the values of KINDS.
        path: where the value is in the file.
    """
    if not _is_of_kind(value, kind):
        yield f"{path} is {str(value)[:40]!r}, not {_in_words(kind)}"
    elif isinstance(kind, list):
        inner = kind[0]
        for number, item in enumerate(value):
            # Items of a single type are the common case: the confusions of 1,000 classes are a
            # million numbers.
            if type(item) is not inner:
                yield from problems(item, inner, f"{path}[{number}]")
    elif isinstance(kind, dict):
        for key, inner in kind.items():
            yield from _problems_of_key(value, key, inner, path)


def _problems_of_key(value, key, inner, path):
    names = value if key == "*" else [key.rstrip("?")]
    for name in names:
        inner_path = f"{path}.{name}".lstrip(".")
        if name in value:
            yield from problems(value[name], inner, inner_path)
        elif not key.endswith("?"):
            yield f"{inner_path} is missing"


def _accepted_types(kind):
    if isinstance(kind, (dict, list)):
        return (type(kind),)
    return kind if isinstance(kind, tuple) else (kind,)


def _is_of_kind(value, kind):
    """Whether a value has the outer type of a kind."""
    accepted = _accepted_types(kind)
    if isinstance(value, bool):  # which is an int in Python
        return bool in accepted
    if value is None:
        return None in accepted
    return isinstance(value, tuple(each for each in accepted if each))


def _in_words(kind):
    accepted = _accepted_types(kind)
    names = []
    for each in accepted:
        if each is not int or float not in accepted:  # a whole number is a number, too
            names.append(WORDS[each])
    return " or ".join(names)


def _inconsistencies(document):
    """Yields lists that are not as long as another, and numbers of images that do not exist."""
    yield from _map_inconsistencies(document)
    confusion = document["details"].get("trained", {}).get("classifier", {}).get("confusion", [])
    if any(len(counts) != len(confusion) for counts in confusion):
        yield "confusion is not as wide as high"
    for query in document.get("neighbors", []):
        if len(query["neighbors"]) != len(query["similarity"]):
            yield "neighbors has not one similarity for each image"
    yield from _image_inconsistencies(document)
    for name in ("images", "views"):
        sheet = document.get(name)
        if sheet and not _is_sheet(sheet):
            yield (
                f"{name} names {sheet['file']!r} with {sheet['columns']} columns; it has to be a "
                f"file beside {run_files.RESULTS}, of 1 column or more"
            )


def _map_inconsistencies(document):
    content = document.get("map", {"images": []})
    for name in ("pca", "tsne"):
        if name in content:
            dimensions = [len(point) for point in content[name]]
            if dimensions != [2] * len(content["images"]):
                yield f"map.{name} has not two numbers for each of map.images"


def _image_inconsistencies(document):
    images = document.get("images")
    if not images:
        return
    count = len(images["names"])
    if not count == len(images["labels"]) == len(images["predicted"]):
        yield "images.names, images.labels and images.predicted are not of one length"
    used = list(document.get("map", {"images": []})["images"])
    used += [mistake["image"] for mistake in document.get("mistakes", [])]
    for query in document.get("neighbors", []):
        used += [query["query"], *query["neighbors"]]
    for index in used:
        if not 0 <= index < count:
            yield f"image {index} is used, and there are {count}"


def _is_sheet(sheet):
    is_beside = "/" not in sheet["file"] and "\\" not in sheet["file"]
    return is_beside and sheet["columns"] >= 1 and sheet["size"] >= 1
