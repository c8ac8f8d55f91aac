"""What each figure of an evaluation is called, how it is written and what it means: once, for every table and page."""

import dataclasses
import math
import re

NONE = "–"  # where there is no figure


@dataclasses.dataclass(frozen=True)
class Metric:
    """One figure. `better` is "higher", "lower" or "" where neither is; `labels`: whether it takes labels to compute."""

    label: str
    format: str
    better: str
    explanation: str
    labels: bool = True


PERCENT = "{:.1%}"
METRICS = {  # in the order of the tables; # stands for any number, called k in the explanation
    "label_top_#_accuracy": Metric(
        "classifier, top #",
        PERCENT,
        "higher",
        "the right class is among the k likeliest of the network's own linear classifier",
    ),
    "expected_calibration_error": Metric(
        "calibration error",
        PERCENT,
        "lower",
        "how far the classifier's confidence is from its accuracy, the mean over bins of equal confidence",
    ),
    "negative_log_likelihood": Metric(
        "negative log-likelihood",
        "{:.3f}",
        "lower",
        "mean of -log(probability that the classifier gives to the right class)",
    ),
    "task_accuracy": Metric(
        "own task, accuracy",
        PERCENT,
        "",
        "how often the task that is learned without labels is solved on held-out images (exemplar: on those it knows)",
        labels=False,
    ),
    "task_loss": Metric(
        "own task, loss", "{:.3f}", "", "the loss of that task there", labels=False
    ),
    "task_chance": Metric(
        "own task, loss at chance",
        "{:.3f}",
        "",
        "what it would be for who has learned nothing",
        labels=False,
    ),
    "linear_probe_accuracy": Metric(
        "linear probe",
        PERCENT,
        "higher",
        "accuracy of a logistic regression that is fitted to the frozen features",
    ),
    "few_labels_#_accuracy": Metric(
        "linear probe, # a class",
        PERCENT,
        "higher",
        "accuracy of a logistic regression that is fitted to k labels of each class; the mean over several draws",
    ),
    "knn_accuracy": Metric(
        "k-NN", PERCENT, "higher", "accuracy of a weighted vote of the most similar training images"
    ),
    "clustering_nmi": Metric(
        "clustering, NMI",
        "{:.3f}",
        "higher",
        "normalised mutual information of k-means clusters and classes; 0 is chance, 1 is perfect",
    ),
    "clustering_ari": Metric(
        "clustering, ARI",
        "{:.3f}",
        "higher",
        "adjusted Rand index: pairs of images that clusters and classes agree about; 0 is chance, 1 is perfect",
    ),
    "clustering_accuracy": Metric(
        "clustering, accuracy",
        PERCENT,
        "higher",
        "accuracy if each k-means cluster stands for one class, matched as well as possible",
    ),
    "retrieval_recall_at_#": Metric(
        "retrieval, recall at #",
        PERCENT,
        "higher",
        "how often an image of the same class is among the k most similar ones",
    ),
    "retrieval_map": Metric(
        "retrieval, mAP",
        "{:.3f}",
        "higher",
        "mean average precision of the other images ranked by similarity; those of the same class are right",
    ),
    "feature_rank": Metric(
        "effective rank",
        "{:.1f}",
        "",
        "how many directions the features use: exp of the entropy of their singular values; between trained networks more is better",
        labels=False,
    ),
    "alignment": Metric(
        "alignment",
        "{:.3f}",
        "lower",
        "mean squared distance of the features of two views of one image, at length 1",
        labels=False,
    ),
    "uniformity": Metric(
        "uniformity",
        "{:.3f}",
        "lower",
        "how evenly the features spread over the sphere: log of the mean of exp(-2 distance²)",
        labels=False,
    ),
    "feature_std": Metric(
        "spread",
        "{:.3f}",
        "",
        "standard deviation of the features at length 1; near 1 they point everywhere alike, near 0 they have collapsed to one point",
        labels=False,
    ),
    "dead_dimensions": Metric(
        "dead dimensions",
        PERCENT,
        "lower",
        "share of the features that are the same for every image",
        labels=False,
    ),
}
HEADLINE_METRICS = ("label_top_1_accuracy", "linear_probe_accuracy", "knn_accuracy")
BY_LAYER = (
    "linear_probe_accuracy",
    "knn_accuracy",
    "clustering_nmi",
    "retrieval_map",
    "feature_rank",
)
NETWORKS = {"pixels": "raw pixels", "untrained": "untrained network", "trained": "this network"}
_NUMBER = re.compile(r"\d+")


def metric(name):
    """The `Figure` of a name as it stands in results.json; one that is not known is called as it is."""
    found = METRICS.get(name) or METRICS.get(_NUMBER.sub("#", name))
    if found is None:
        return Metric(
            name.replace("_", " "),
            PERCENT if name.endswith("accuracy") else "{:.3f}",
            "",
            "",
            labels=False,
        )
    number = _NUMBER.search(name)
    return (
        dataclasses.replace(found, label=found.label.replace("#", number[0])) if number else found
    )


def metric_family(name):
    """The name of a figure without its number, and the `Figure` of all of that kind."""
    name = _NUMBER.sub("#", name)
    found = metric(name)
    return name, dataclasses.replace(found, label=found.label.replace("#", "k"))


def format_value(name, value):
    """The value of a figure as it is shown."""
    return NONE if value is None or not math.isfinite(value) else metric(name).format.format(value)


def in_table_order(names):
    """Names of figures in the order of `FIGURES`, each once; unknown ones last."""
    order = {name: number for number, name in enumerate(METRICS)}

    def key(name):
        number = _NUMBER.search(name)
        return (
            order.get(name, order.get(_NUMBER.sub("#", name), len(order))),
            int(number[0]) if number else 0,
            name,
        )

    return sorted(set(names), key=key)


def metrics_of(document, network, *places):
    """{figure: value} of a network at one or several places together; raw pixels are one place of their own."""
    found = document["figures"].get(network, {})
    return {
        name: value
        for place in (found if network == "pixels" else places)
        for name, value in found.get(place, {}).items()
    }


def headline_layers(document):
    """The encoder's output, or the last layer that was evaluated, and the classifier: what one quotes of a run."""
    found = evaluated_layers(document)
    return ("final_avg_pool" if "final_avg_pool" in found or not found else found[-1], "classifier")


def evaluated_layers(document):
    """The layers that were evaluated, from the input to the output."""
    found = {
        place
        for network in ("trained", "untrained")
        for place in document["figures"].get(network, {})
    } - {"classifier"}
    listed = [layer for layer in document["run"].get("layers", []) if layer in found]
    return listed + sorted(found - {*listed})
