"""What a run is, as text: its training, its data, its size."""

from tf_simclr.report.evaluated import CLASSIFIER
from tf_simclr.report.runs import Run
from tf_simclr.report.wording import duration, value_text

MAX_NAMED = 5  # classes in a cell


def _time(run):
    minutes = run.facts.get("train_minutes")
    return None if minutes is None else duration(minutes)


def _training(run):
    train_mode = run.facts.get("train_mode")
    flags = run.get("flags")
    methods = {"pretrain": flags.get("pretext", "simclr"), "semi": flags.get("semi_method")}
    method = methods.get(train_mode)
    return train_mode if method in (None, "simclr") else f"{train_mode} ({method})"


def _best_step(run):
    best = run.get("best")
    return best and f"{best['step']:,} ({best['criterion']}: {best['value']:.4g})"


def _step(run):
    step, total = run.facts.get("step"), run.facts.get("total_steps")
    return step if total in (None, step) else f"{value_text(step)} of {total:,}"


def _never_predicted(run):
    """Classes of the evaluated images that the classifier never predicts."""
    return _named(run, run.details(CLASSIFIER, "never_predicted") or [])


def _not_evaluated(run):
    """Classes of which no image was evaluated, and so without an accuracy."""
    accuracies = run.details(CLASSIFIER, "per_class_accuracy") or []
    return _named(run, [label for label, value in enumerate(accuracies) if value is None])


def _named(run, labels):
    """The names of some classes; None if there are none. Only some are named."""
    names = [run.class_name(label) for label in labels[:MAX_NAMED]]
    more = len(labels) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "") or None


def _training_copies(run):
    copies = run.get("training_copies")
    if not copies:
        return None
    number = f"{copies['images']:,}"
    if copies.get("skipped"):  # there may be more
        number = f"at least {number}" if copies["images"] else "none found"
    return f"{number} of {copies['evaluated']:,}"


ABOUT = {  # {label: run -> value}
    "training": _training,
    "data": lambda run: run.facts.get("dataset"),
    "trained on": lambda run: run.facts.get("train_split"),
    "evaluated on": lambda run: run.evaluated_on,
    "step": _step,
    "images": lambda run: run.facts.get("images"),
    "labels": lambda run: run.facts.get("labels"),
    "evaluated images": lambda run: run.facts.get("evaluated_examples"),
    "near-copies of training images": _training_copies,
    "classes never predicted": _never_predicted,
    "classes not evaluated": _not_evaluated,
    "parameters": lambda run: run.facts.get("parameters"),
    "time of training": _time,
    "best step": _best_step,
    "directory": lambda run: str(run.directory),
}


def texts(runs: list[Run]) -> dict[str, tuple[str, ...]]:
    """{label: a text for each run}, without what no run has."""
    table = {}
    for label, value_of in ABOUT.items():
        values = [value_of(run) for run in runs]
        if any(value is not None for value in values):
            table[label] = tuple(map(value_text, values))
    return table
