"""Images to label -> one HTML page that asks for their classes and gives labels.csv."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence

from tf_simclr.report import templates


@dataclasses.dataclass(frozen=True)
class Neighbor:
    """An image that is similar to one whose class is asked for.

    Attributes:
        name: as --labels takes it.
        image: encoded, small.
        looks_same: whether it may be taken along unseen.
    """

    name: str
    image: bytes
    looks_same: bool


@dataclasses.dataclass(frozen=True)
class Question:
    """An image whose class is asked for.

    Attributes:
        name: as --labels takes it.
        image: encoded, as large as it is shown.
        why: the reason for the choice, in words.
        cluster: its number.
        neighbors: the most similar first.
    """

    name: str
    image: bytes
    why: str
    cluster: int
    neighbors: tuple[Neighbor, ...] = ()


def render(
    questions: Sequence[Question],
    class_names: Sequence[str],
    known: dict[str, str],
    *,
    note: str = "",
    splits: dict[str, str] | None = None,
) -> str:
    """The text of the page.

    Args:
        questions: in the order in which they are asked.
        class_names: as far as they are known; the user adds others.
        known: {name: class} of images that have a label; they are in the labels.csv of the page.
        note: a line on what to do with labels.csv.
        splits: {name: split} of the table that labels.csv takes the place of; None: it has none.
    """
    classes = list(dict.fromkeys([*class_names, *known.values()]))
    content = {
        "questions": [_question_entry(question) for question in questions],
        "classes": classes,
        "known": list(known.items()),
        "splits": splits and list(splits.items()),
    }
    # What was answered is kept by the browser under this key, so that it can't reach another page.
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    content["key"] = f"tf_simclr labels {digest[:24]}"
    return templates.render("label_page.html", content=content, count=len(questions), note=note)


def _question_entry(question):
    neighbors = [
        {
            "name": neighbor.name,
            "image": templates.data_uri(neighbor.image),
            "same": bool(neighbor.looks_same),
        }
        for neighbor in question.neighbors
    ]
    return {
        "name": question.name,
        "image": templates.data_uri(question.image),
        "why": question.why,
        "cluster": int(question.cluster),
        "neighbors": neighbors,
    }
