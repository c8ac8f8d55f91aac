"""How often the number of labels that a law gives is right, on curves that go on.

    python -m benchmarks.label_law --checkpoint=runs/digits_quickstart/pretrain --data_dir=TFDS_DIR

Laws are fitted to accuracies with 1 to 20 labels a class, as an evaluation does, and asked with how
many labels the accuracy is reached that 30 to 200 labels a class truly give. The curves: digits and
CIFAR-10, of each all ten classes, five, three and two; features of the trained network, of the
untrained one, and raw pixels; four sets of five draws of the labels. The network is one of the
quick start.
"""

import argparse
import collections
import itertools
import tempfile

import numpy as np

# Of CIFAR-10 a part, so that it takes minutes.
DATASETS = {
    "digits": {"image_size": 16},
    "cifar10": {"image_size": 32, "knn_examples": 8000, "eval_steps": 10},
}
CLASSES = (tuple(range(10)), (5, 6, 7, 8, 9), (0, 4, 7), (0, 6))
FITTED = (1, 2, 5, 10, 20)  # labels a class
FORETOLD = (30, 50, 100, 200)
NUM_SETS = 4
NUM_DRAWS = 5  # of a set
FIRST_SEED = 100  # of the draws; those below were looked at when the law was made
ANSWERED = "answered"
COLUMNS = (
    "interval has it",
    "low is right",
    "high is right",
    "estimate within a factor of 2",
    "estimate / truth",
    "high / low",
)
POOL_SHARE = 0.8  # of the images of a class; draws of more would all be alike


def features(dataset, options):
    """{network: (training, test) examples}."""
    from tf_simclr import config
    from tf_simclr.checkpoints import pretrained
    from tf_simclr.evaluation import baselines, evaluator
    from tf_simclr.evaluation.network_features import compute_features
    from tf_simclr.training.experiment import build_experiment

    with tempfile.TemporaryDirectory() as folder:
        flags = {
            "mode": "eval",
            "checkpoint": options.checkpoint,
            "dataset": dataset,
            "data_dir": options.data_dir,
            "eval_split": "test",
            "resnet_depth": 18,
            "width_multiplier": 0.25,
            "eval_batch_size": 256,
            "model_dir": folder,
            **DATASETS[dataset],
        }
        experiment = build_experiment(config.build(flags))
        network = experiment.objective
        variables = [v for layer in network.exported_layers() for v in layer.variables]
        pretrained.restore(experiment.imported, network, variables)
        data = evaluator.evaluation_data(
            experiment.data.train_source, experiment.eval_source, experiment.settings
        )
        of_networks = compute_features(
            network,
            data,
            evaluations=("few_labels",),
            settings=experiment.settings,
            strategy=experiment.strategy,
            directory=experiment.directory.path,
            baselines=baselines.make_networks(experiment.settings, experiment.make_baseline),
        )
    return {
        name: each.examples("pixels" if name == "pixels" else "final_avg_pool")
        for name, each in of_networks.items()
    }


def measure(train, test, classes):
    """{labels a class: accuracies of the draws}."""
    from tf_simclr.evaluation.metrics import linear_probe

    train = train.take(np.isin(train.labels, classes))
    test = test.take(np.isin(test.labels, classes))
    smallest = min(np.sum(train.labels == label) for label in classes)
    few = linear_probe.FewLabels(train, test)
    curve = {}
    for count in (*FITTED, *FORETOLD):
        if count > POOL_SHARE * smallest:
            break
        num_draws = NUM_SETS * NUM_DRAWS // (1 if count in FITTED else 2)
        seeds = range(FIRST_SEED, FIRST_SEED + num_draws)
        curve[count] = few.accuracies(count, seeds)
    return curve


def check(curve, num_classes, num_tested):
    """Yields (labels a class, kind of answer, estimate, low, high), the last three in true ones."""
    from tf_simclr.evaluation.metrics import label_law

    for first in range(0, NUM_SETS * NUM_DRAWS, NUM_DRAWS):
        draws = [1 - np.array(curve[count][first : first + NUM_DRAWS]) for count in FITTED]
        labels = np.array(FITTED, np.float64) * num_classes
        errors = label_law.Curve(labels, draws, num_tested)
        kind = ANSWERED
        if label_law.too_little(errors):
            kind = "no clear rise"
        elif label_law.not_foretold(errors):
            kind = "not foretold"
        laws = label_law.fit(errors)
        for count in curve:
            true_error = 1 - np.mean(curve[count])
            # With less than one wrong answer the curve has ended: fewer labels give that as well.
            if count in FORETOLD and true_error >= 1 / num_tested:
                needed = label_law.labels_for(laws, errors, true_error)
                yield count, kind, *(number / (count * num_classes) for number in needed)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--data_dir", default="")
    options = parser.parse_args()
    import tf_simclr  # noqa: F401  isort: skip  sets the environment before TensorFlow is imported

    answers = []
    for dataset in DATASETS:
        networks = features(dataset, options)
        for (name, (train, test)), classes in itertools.product(networks.items(), CLASSES):
            curve = measure(train, test, classes)
            num_tested = int(np.isin(test.labels, classes).sum())
            answers += [(dataset, *each) for each in check(curve, len(classes), num_tested)]
            means = ", ".join(f"{count}: {np.mean(curve[count]):.1%}" for count in curve)
            print(f"{dataset}, {name}, {len(classes)} classes: {means}", flush=True)
    print_tables(answers)


def print_tables(answers):
    """Tables of the answers (data set, labels a class, kind, estimate, low, high)."""
    print("\n| data | labels a class | curves |", " | ".join(COLUMNS), "|")
    print("|---|--:|--:|" + "--:|" * len(COLUMNS))
    for dataset, count in itertools.product(DATASETS, FORETOLD):
        chosen = [each[3:] for each in answers if each[:3] == (dataset, count, ANSWERED)]
        if chosen:
            cells = " | ".join(summary(*np.transpose(chosen)))
            print(f"| {dataset} | {count} | {len(chosen)} | {cells} |")
    nearest = FORETOLD[0]
    kinds = collections.Counter((each[0], each[2]) for each in answers if each[1] == nearest)
    print("\n| data | law | curves |\n|---|---|--:|")
    for (dataset, kind), number in sorted(kinds.items()):
        print(f"| {dataset} | {kind} | {number} |")


def summary(estimate, low, high):
    """The cells of a line; all numbers are in true ones."""
    is_near = (estimate > 0.5) & (estimate < 2)
    shares = [(low <= 1) & (high >= 1), low <= 1, high >= 1, is_near]
    widths = [np.median(estimate), np.median(high / low)]
    return [f"{share.mean():.0%}" for share in shares] + [f"{width:.2g}" for width in widths]


if __name__ == "__main__":
    main()
