"""What each metric is called, how it is written and what it means: once, for every table."""

import dataclasses
import math
import re

from tf_simclr.report.wording import MISSING

PERCENT = "{:.1%}"


@dataclasses.dataclass(frozen=True)
class MetricName:
    """A row of the table.

    Attributes:
        label: what it is called.
        format: of its value.
        better: "higher", "lower" or "" where neither is.
        explanation: in a sentence.
        needs_labels: whether it takes labels to compute.
    """

    label: str
    format: str
    better: str
    explanation: str
    needs_labels: bool = True


METRICS = {  # in the order of the tables; # stands for any number, called k in the explanation
    "label_top_#_accuracy": MetricName(
        "classifier, top #",
        PERCENT,
        "higher",
        "the right class is among the k likeliest of the network's own linear classifier",
    ),
    "label_balanced_accuracy": MetricName(
        "classifier, balanced",
        PERCENT,
        "higher",
        "how often the network's own linear classifier is right about the images of a class, the "
        "mean over classes",
    ),
    "expected_calibration_error": MetricName(
        "calibration error",
        PERCENT,
        "lower",
        "how far the classifier's confidence is from its accuracy, the mean over bins of equal "
        "confidence; the fewer images, the more of it chance makes",
    ),
    "calibrated_calibration_error": MetricName(
        "calibration error, calibrated",
        PERCENT,
        "lower",
        "the same of the calibrated confidence, with a temperature fitted on other images",
    ),
    "negative_log_likelihood": MetricName(
        "negative log-likelihood",
        "{:.3f}",
        "lower",
        "mean of -log(probability that the classifier gives to the right class)",
    ),
    "task_accuracy": MetricName(
        "own task, accuracy",
        PERCENT,
        "",
        "how often the task that is learned without labels is solved on held-out images (exemplar: "
        "on those it knows)",
        needs_labels=False,
    ),
    "task_loss": MetricName(
        "own task, loss", "{:.3f}", "", "the loss of that task there", needs_labels=False
    ),
    "task_chance": MetricName(
        "own task, loss at chance",
        "{:.3f}",
        "",
        "what it would be at chance level",
        needs_labels=False,
    ),
    "linear_probe_accuracy": MetricName(
        "linear probe",
        PERCENT,
        "higher",
        "accuracy of a logistic regression that is fitted to the frozen features",
    ),
    "linear_probe_balanced_accuracy": MetricName(
        "linear probe, balanced",
        PERCENT,
        "higher",
        "how often that logistic regression is right about the images of a class, the mean over "
        "classes",
    ),
    "few_labels_#_accuracy": MetricName(
        "linear probe, # a class",
        PERCENT,
        "higher",
        "accuracy of a logistic regression that is fitted to k labels of each class; the mean over "
        "several draws",
    ),
    "cross_validated_accuracy": MetricName(
        "linear probe, cross-validated",
        PERCENT,
        "higher",
        "accuracy of a logistic regression on all labeled images, each predicted by one that is "
        "fitted to others; where fewer than 100 images are evaluated",
    ),
    "knn_accuracy": MetricName(
        "k-NN",
        PERCENT,
        "higher",
        "accuracy of a weighted vote of the most similar training images",
    ),
    "clustering_nmi": MetricName(
        "clustering, NMI",
        "{:.3f}",
        "higher",
        "normalized mutual information of k-means clusters and classes; 0 is chance, 1 is perfect",
    ),
    "clustering_ari": MetricName(
        "clustering, ARI",
        "{:.3f}",
        "higher",
        "adjusted Rand index: pairs of images that clusters and classes agree about; 0 is chance, "
        "1 is perfect",
    ),
    "clustering_accuracy": MetricName(
        "clustering, accuracy",
        PERCENT,
        "higher",
        "accuracy if each k-means cluster stands for one class, matched as well as possible",
    ),
    "retrieval_recall_at_#": MetricName(
        "retrieval, recall at #",
        PERCENT,
        "higher",
        "how often an image of the same class is among the k most similar ones",
    ),
    "retrieval_map": MetricName(
        "retrieval, mAP",
        "{:.3f}",
        "higher",
        "mean average precision of the other images ranked by similarity; those of the same class "
        "are right",
    ),
    "feature_rank": MetricName(
        "effective rank",
        "{:.1f}",
        "",
        "how many directions the features use: exp of the entropy of their singular values; "
        "between trained networks more is better",
        needs_labels=False,
    ),
    "alignment": MetricName(
        "alignment",
        "{:.3f}",
        "",
        "mean squared distance of the features of two views of one image, at length 1; less is "
        "better while uniformity stays low, but 0 where all images have the same features",
        needs_labels=False,
    ),
    "uniformity": MetricName(
        "uniformity",
        "{:.3f}",
        "",
        "how evenly the features spread over the sphere: log of the mean of exp(-2 distance²); "
        "less is more even, 0 where all images have the same features",
        needs_labels=False,
    ),
    "feature_std": MetricName(
        "spread",
        "{:.3f}",
        "",
        "standard deviation of the features at length 1; near 1 they point everywhere alike, near "
        "0 they have collapsed to one point",
        needs_labels=False,
    ),
    "dead_dimensions": MetricName(
        "dead dimensions",
        PERCENT,
        "lower",
        "share of the features that are the same for every image",
        needs_labels=False,
    ),
}
# Metrics that one quotes of a run; without labels those of the second row.
HEADLINE_METRICS = ("label_top_1_accuracy", "linear_probe_accuracy", "knn_accuracy")
LABEL_FREE_METRICS = ("feature_rank", "alignment", "uniformity")
LAYER_METRICS = (  # of which a table of several layers has a column each
    "linear_probe_accuracy",
    "knn_accuracy",
    "clustering_nmi",
    "retrieval_map",
    "feature_rank",
)
# Of the table of a chain: {metric: head of its column}.
STAGE_METRICS = {
    "label_top_1_accuracy": "top 1",
    "label_top_5_accuracy": "top 5",
    "linear_probe_accuracy": "logistic regression",
    "knn_accuracy": "k-NN",
}
_NUMBER = re.compile(r"\d+")


def metric(name: str) -> MetricName:
    """The metric of a name as it stands in results.json; an unknown one is called as it is."""
    known = METRICS.get(name) or METRICS.get(_without_number(name))
    if known is None:
        value_format = PERCENT if name.endswith("accuracy") else "{:.3f}"
        return MetricName(name.replace("_", " "), value_format, "", "", needs_labels=False)
    number = _NUMBER.search(name)
    if number is None:
        return known
    return dataclasses.replace(known, label=known.label.replace("#", number[0]))


def _without_number(name):
    return _NUMBER.sub("#", name)


def metric_family(name: str) -> tuple[str, MetricName]:
    """The name of a metric without its number, and the `MetricName` of all of that kind."""
    name = _without_number(name)
    known = metric(name)
    return name, dataclasses.replace(known, label=known.label.replace("#", "k"))


def format_value(name: str, value: float | None) -> str:
    """The value of a metric as it is written."""
    if value is None or not math.isfinite(value):
        return MISSING
    return metric(name).format.format(value)


def calibration_error_text(error: float | None, by_chance: float | None) -> str:
    """A calibration error beside that of a perfectly calibrated classifier, where it is known."""
    text = format_value("expected_calibration_error", error)
    if error is None or by_chance is None:
        return text
    if error <= by_chance:
        text = f"{text}, no more than chance makes"
    return f"{text} (perfectly calibrated, about {by_chance:.1%})"


def in_table_order(names) -> list[str]:
    """Names of metrics in the order of `METRICS`, each once; unknown ones last."""
    order = {name: number for number, name in enumerate(METRICS)}

    def key(name):
        position = order.get(name, order.get(_without_number(name), len(order)))
        number = _NUMBER.search(name)
        return position, int(number[0]) if number else 0, name

    return sorted(set(names), key=key)
