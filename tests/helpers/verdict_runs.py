"""Runs with known answers to each evaluated image: for the tests of the verdict."""

import copy

import numpy as np
from etils import epath

from tests.helpers import report_runs
from tf_simclr.report import image_bits
from tf_simclr.report.runs import Run

NUM_IMAGES = 400


def right(share, first=0, num_images=NUM_IMAGES):
    """bool [num_images]: right about this share of the images, from the image `first` on."""
    order = np.roll(np.arange(num_images), first)
    return order < round(share * num_images)


def run(
    name,
    train_mode,
    *,
    classifier=None,
    probe=None,
    pixels=None,
    untrained=None,
    published=None,
    flags=(),
    facts=(),
    **more,
):
    """A `Run`; what is right is bool [N] for each network, None where there is none.

    Args:
        name: of the run.
        train_mode: of the run.
        classifier: of the trained network.
        probe: likewise.
        pixels: probe on raw pixels.
        untrained: probe on the untrained network.
        published: probe on the published network tiny.
        flags: flags that differ from the defaults.
        facts: what results.json says of the run itself.
        **more: further keys of results.json.
    """
    document = copy.deepcopy(report_runs.document(name))
    given = (classifier, probe, pixels, untrained, published)
    num_images = next(len(each) for each in given if each is not None)
    document["run"] |= {
        "train_mode": train_mode,
        "labels": 20,
        "fitted_examples": 20,
        "parameters": 1000,
        "evaluated_examples": num_images,
        **dict(facts),
    }
    document["flags"] |= dict(flags)
    document["figures"], document["details"] = {}, {}
    for network, layer, correct in (
        ("trained", "classifier", classifier),
        ("trained", "final_avg_pool", probe),
        ("pixels", "pixels", pixels),
        ("untrained", "final_avg_pool", untrained),
        ("hub:tiny", "final_avg_pool", published),
    ):
        if correct is not None:
            _add(document, network, layer, correct)
    document |= more
    return Run(name, epath.Path(name), document, {}, None, None, None)


def _add(document, network, layer, correct):
    is_classifier = layer == "classifier"
    metric = "label_top_1_accuracy" if is_classifier else "linear_probe_accuracy"
    detail = "classifier_correct" if is_classifier else "probe_correct"
    saved = image_bits.pack(correct, np.arange(len(correct)) % 10)
    layers = document["figures"].setdefault(network, {})
    layers[layer] = {metric: float(np.mean(correct))}
    document["details"].setdefault(network, {})[layer] = {detail: saved}


def chain(supervised=0.6, finetune=0.8, distill=0.82, pixels=0.5, untrained=0.4, probe=0.78):
    """The runs of a chain with these accuracies."""
    shared = {"pixels": right(pixels), "untrained": right(untrained)}
    return [
        run("supervised", "supervised", classifier=right(supervised, 10), **shared),
        run("pretrain", "pretrain", classifier=right(0.1), probe=right(probe), **shared),
        run("finetune", "finetune", classifier=right(finetune), **shared),
        run("distill", "distill", classifier=right(distill, 5), **shared),
    ]


def without_bits(runs):
    """The same as earlier versions have saved them."""
    for each in runs:
        each.document["details"] = {}
    return runs
