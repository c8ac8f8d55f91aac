"""What one quotes of a run: its best-known metrics beside their baselines, and a sentence."""

import dataclasses

from tf_simclr.config.splits import overlap
from tf_simclr.report.evaluated import BASELINES, TRAINED, headline_layers, metrics_of, networks_of
from tf_simclr.report.metric_names import HEADLINE_METRICS, LABEL_FREE_METRICS, format_value
from tf_simclr.report.runs import Run


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
        plural = "" if num_fitted == 1 else "s"
        subject += f" on {num_fitted:,} label{plural}"
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
