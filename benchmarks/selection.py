"""Accuracy over labels for each strategy of --mode=select.

    python -m benchmarks.selection --labels=10,20,40,100 --seeds=4 --plot=selection.png \
        --checkpoint=RUN [FLAGS of run.py, such as --data_dir=...]

The weights of RUN embed the images of its data set. Labels come in rounds: each round asks for as
many more as lead to the next number, knowing the labels of those before. Accuracy is that of
logistic regression on the features of the labeled images, on the evaluation split; it is also the
classifier that `uncertain` goes by, whose first round is that of `typical`. `evenly` draws as many
images of each class, which takes the labels that one wants.
"""

import argparse
import dataclasses

import numpy as np
from absl import flags as absl_flags
from absl import logging

from tf_simclr import console
from tf_simclr.commands.image_set import build_extractor, compute_image_set
from tf_simclr.config import command_line
from tf_simclr.curation import selection
from tf_simclr.curation.selection import Pool
from tf_simclr.evaluation.metrics import linear_probe
from tf_simclr.evaluation.metrics.base import normalized

STRATEGIES = ("random", "evenly", "typical", "coverage", "uncertain", "auto")
MODE = ("--mode=select", "--model_dir=runs/selection")


@dataclasses.dataclass(frozen=True)
class Split:
    """Features float32 [N, C] of a split, as the probe takes them and of length 1, and labels."""

    features: np.ndarray
    unit: np.ndarray
    labels: np.ndarray


def load(arguments):
    """(training, evaluation) `Split` of the run that the flags name."""
    command_line.define(absl_flags.FLAGS)
    (settings,), _ = command_line.parse(["selection", *MODE, *arguments], absl_flags.FLAGS)
    extractor = build_extractor(settings)
    splits = []
    for name in (settings.data.train_split, settings.data.eval_split):
        images = compute_image_set(extractor, [extractor.load(name)], "features")
        splits.append(Split(images.features, normalized(images.features), images.labels))
    return splits


def draw_evenly(pool, labels, count, seed):
    """Positions of a draw of as many images of each class."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.flatnonzero(pool.is_candidate))
    turn = np.empty(len(order))
    for label in np.unique(labels):
        is_member = labels[order] == label
        turn[is_member] = np.arange(is_member.sum()) + rng.random()
    return order[np.argsort(turn, kind="stable")[:count]]


def choose(strategy, pool, labels, count, seed):
    """Positions of the images of a round."""
    if strategy == "evenly":
        return draw_evenly(pool, labels, count, seed)
    if strategy == "uncertain" and pool.probabilities is None:
        strategy = "typical"
    if strategy == "auto":
        strategy, _ = selection.automatic_strategy(pool, len(np.unique(labels)))
    return selection.select(strategy, pool, count, seed).index


def curve(strategy, train, test, numbers, seed):
    """The accuracy with each number of labels."""
    num_classes = train.labels.max() + 1
    is_labeled = np.zeros(len(train.labels), bool)
    probabilities = None
    accuracies = []
    for number in numbers:
        pool = Pool(train.unit, is_labeled, np.zeros_like(is_labeled), probabilities)
        count = number - is_labeled.sum()
        is_labeled = is_labeled.copy()
        is_labeled[choose(strategy, pool, train.labels, count, seed)] = True
        labels = train.labels[is_labeled]
        if len(np.unique(labels)) < 2:
            accuracies.append(np.mean(test.labels == labels[0]))
            continue
        probe = linear_probe.fit(train.features[is_labeled], labels)
        accuracies.append(np.mean(probe.predict(test.features) == test.labels))
        probabilities = np.zeros([len(train.labels), num_classes])
        probabilities[:, probe.classes_] = probe.predict_proba(train.features)
    return accuracies


def write_plot(path, numbers, accuracies):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for strategy, values in accuracies.items():
        style = "--" if strategy in ("random", "evenly") else "-"
        axes.errorbar(
            numbers, values.mean(0), values.std(0), label=strategy, linestyle=style, capsize=2
        )
    axes.set(xscale="log", xlabel="labels", ylabel="accuracy, %")
    axes.set_xticks(numbers, map(str, numbers))
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", default="10,20,40,100")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--plot")
    options, rest = parser.parse_known_args()
    numbers = [int(number) for number in options.labels.split(",")]
    console.set_up_logging()
    train, test = load(rest)
    accuracies = {}
    print(f"| strategy | {' | '.join(f'{number} labels' for number in numbers)} |")
    print(f"|---|{'--:|' * len(numbers)}")
    for strategy in options.strategies.split(","):
        curves = [curve(strategy, train, test, numbers, seed) for seed in range(options.seeds)]
        values = 100 * np.array(curves)
        cells = [f"{mean:.1f} ± {std:.1f}" for mean, std in zip(values.mean(0), values.std(0))]
        print(f"| {strategy} | {' | '.join(cells)} |", flush=True)
        accuracies[strategy] = values
        logging.info("%s is done", strategy)
    if options.plot:
        write_plot(options.plot, numbers, accuracies)


if __name__ == "__main__":
    main()
