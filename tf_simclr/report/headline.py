"""What stands first: the heading; of a run its best-known metrics and a sentence."""

import dataclasses

from tf_simclr.config.splits import overlap
from tf_simclr.report.evaluated import BASELINES, TRAINED, headline_layers, metrics_of, networks_of
from tf_simclr.report.metric_names import HEADLINE_METRICS, LABEL_FREE_METRICS, format_value
from tf_simclr.report.runs import Run
from tf_simclr.runs import files as run_files

MAX_NAMED = 6  # runs, in the heading


@dataclasses.dataclass(frozen=True)
class Tile:
    """A metric of a run.

    Attributes:
        name: of the metric.
        value: as it is written.
        baselines: ((baseline, value), ...).
    """

    name: str
    value: str
    baselines: tuple[tuple[str, str], ...]


def heading(runs: list[Run]) -> str:
    """What a page is called: by the chain whose stages the runs are, or by their names."""
    names = [run.name for run in runs]
    parents = {run.directory.parent for run in runs}
    chain = parents.pop()
    is_chain = not parents and (chain / run_files.CONFIG).exists()
    if len(runs) > 1 and is_chain:
        name = chain.absolute().name  # "." has none
        return f"{name}: {len(runs)} stages"
    if len(runs) <= MAX_NAMED:
        return "\u00a0· ".join(names)  # no line begins with the point
    return f"{len(names)} runs, {names[0]} to {names[-1]}"


def data(runs: list[Run]) -> str:
    """The data set, the most images that any of the runs has, and their labels if as many.

    "" unless there is one data set.
    """
    datasets = {run.facts.get("dataset") for run in runs} - {None}
    if len(datasets) != 1:
        return ""
    texts = list(datasets)
    # Some stages are trained on the labeled images alone.
    num_images = max(run.facts.get("images") or 0 for run in runs)
    if num_images:
        texts.append(_counted(num_images, "image"))
    numbers = {run.facts.get("labels") for run in runs} - {None}
    if len(numbers) == 1:
        (number,) = numbers
        texts.append(_counted(number, "label"))
    return ", ".join(texts)


def _counted(number, noun):
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s"


def tiles(run: Run) -> list[Tile]:
    """The best-known metrics of a run, each with its baselines."""
    layers = headline_layers(run.document)
    networks = networks_of(run.document)
    metrics = {network: metrics_of(run.document, network, *layers) for network in networks}
    trained = metrics["trained"]
    names = [name for name in HEADLINE_METRICS if trained.get(name) is not None]
    names = names or [name for name in LABEL_FREE_METRICS if name in trained]
    return [
        Tile(name, format_value(name, trained[name]), _baselines(name, metrics, networks))
        for name in names
    ]


def _baselines(name, metrics, networks):
    baselines = []
    for network, title in networks.items():
        if network == TRAINED:
            continue
        label = BASELINES.get(network, title)
        value = metrics[network].get(name)
        if value is not None:
            baselines.append((label, format_value(name, value)))
    return tuple(baselines)


def sentence(run: Run) -> str:
    """What a run's metrics say, in words."""
    by_name = {tile.name: tile for tile in tiles(run)}
    images = _evaluated_images(run.facts)
    if "linear_probe_accuracy" in by_name:
        tile, subject = by_name["linear_probe_accuracy"], "A linear probe"
    elif "knn_accuracy" in by_name:
        tile, subject = by_name["knn_accuracy"], "A vote of the nearest neighbors"
    elif "label_top_1_accuracy" in by_name:
        accuracy = by_name["label_top_1_accuracy"].value
        return f"The network's own classifier is right about {accuracy} of {images}."
    else:
        return (
            "There are no labels to evaluate with: what is known is how the features spread, and "
            "which images they hold to be similar. They spread more the higher the effective rank "
            "and the lower the uniformity."
        )
    num_fitted = run.facts.get("fitted_examples")
    if num_fitted:
        subject += f" on {_counted(num_fitted, 'label')}"
    return f"{subject} reaches {tile.value} of {images}{_compared(tile.baselines)}."


def _evaluated_images(facts):
    if "evaluated_examples" not in facts:
        return "the evaluated images"
    split = facts.get("eval_split", "")
    images = f"{facts['evaluated_examples']:,} {split} images".replace("  ", " ")
    if split and overlap(facts.get("train_split", ""), split):
        return f"{images} (it was trained on them)"
    return images


def _compared(baselines):
    """The baselines in words, the untrained network first."""
    values = dict(baselines)
    texts = []
    if "untrained" in values:
        texts.append(f"the same network untrained reaches {values['untrained']}")
    if "raw pixels" in values:
        verb = "" if texts else "reach "
        texts.append(f"raw pixels {verb}{values['raw pixels']}")
    for label, value in baselines:
        if label not in BASELINES.values():
            verb = "" if texts else "reaches "
            texts.append(f"the published {label} {verb}{value}")
    return f"; {', '.join(texts)}" if texts else ""
