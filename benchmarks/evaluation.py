"""How fast features are extracted beside the bare network, and what all evaluations take.

    python -m benchmarks.evaluation --dataset=cifar10 --data_dir=TFDS_DIR --image_size=32 --depth=18

It trains for a few steps, so that the features are not those of random weights, and evaluates on
the whole test split with the whole training split as examples to fit to: the trained network, the
untrained one, and raw pixels.
"""

import argparse
import statistics
import tempfile
import time

from benchmarks.peak import Peak

FLAGS = {
    "dataset": "digits",
    "data_dir": "",
    "image_size": 32,
    "depth": 18,
    "width": 1.0,
    "batch": 256,
    "train_steps": 20,
    "examples": 10**6,
}
NETWORKS = ("trained", "untrained", "pixels")


def network_rate(experiment, batch_size, rounds=10):
    """Images/s of the network alone, on images that are in memory; the median of `rounds`."""
    import tensorflow as tf

    size = experiment.settings.data.image_size
    images = tf.random.uniform([batch_size, size, size, 3])
    function = tf.function(experiment.objective.layer_features, autograph=False)
    seconds = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        function(images)["final_avg_pool"].numpy()
        seconds.append(time.perf_counter() - began)
    return batch_size / statistics.median(seconds[1:])


def train(options, folder):
    """An experiment after a few steps."""
    from tf_simclr import config
    from tf_simclr.training import loop
    from tf_simclr.training.experiment import build_experiment

    flags = {
        "mode": "train_then_eval",
        "dataset": options.dataset,
        "data_dir": options.data_dir,
        "eval_split": "test",
        "image_size": options.image_size,
        "resnet_depth": options.depth,
        "width_multiplier": options.width,
        "train_batch_size": 64,
        "train_steps": options.train_steps,
        "optimizer": "momentum",
        "learning_rate": 0.1,
        "warmup_epochs": 0,
        "use_blur": False,
        "eval_batch_size": options.batch,
        "knn_examples": options.examples,
        "model_dir": folder,
    }
    experiment = build_experiment(config.build(flags))
    loop.fit(experiment)
    return experiment


def features_of_all(experiment, data):
    """({network: features}, seconds of the trained network's extraction)."""
    from tf_simclr.evaluation import baselines
    from tf_simclr.evaluation.network_features import compute_features

    settings = experiment.settings

    def compute(folder, networks=None):
        return compute_features(
            experiment.objective,
            data,
            evaluations=settings.eval.evaluations,
            settings=settings,
            strategy=experiment.strategy,
            directory=experiment.directory.path / folder,
            baselines=networks,
        )

    began = time.perf_counter()
    compute("trained_only")
    seconds = time.perf_counter() - began
    networks = baselines.make_networks(settings, experiment.make_baseline)
    return compute("all", networks), seconds


def evaluations(experiment, network, features):
    """(seconds, bytes of memory at most) of all evaluations of a network."""
    from tf_simclr.evaluation import evaluator
    from tf_simclr.evaluation.metrics import EVALUATIONS
    from tf_simclr.evaluation.results import Results

    options = experiment.settings.eval
    names = options.evaluations
    if network != "trained":
        names = [name for name in names if EVALUATIONS[name].of_baselines]
    began = time.perf_counter()
    with Peak() as peak:
        evaluator.evaluate_network(Results(), network, features, names, options)
    return time.perf_counter() - began, peak.most


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in FLAGS.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    options = parser.parse_args()
    import tf_simclr  # noqa: F401  isort: skip  sets the environment before TensorFlow is imported

    from tf_simclr.evaluation import evaluator

    with tempfile.TemporaryDirectory() as folder:
        experiment = train(options, folder)
        alone = network_rate(experiment, options.batch)
        data = evaluator.evaluation_data(
            experiment.data.train_source, experiment.eval_source, experiment.settings
        )
        count = data.train.num_examples + data.test.num_examples
        features, seconds = features_of_all(experiment, data)
        rate = count / seconds
        network = f"ResNet-{options.depth} {options.width:g}x, {options.image_size} pixels"
        print(f"\n{options.dataset}, {count} images, {network}\n\n| what | measured |\n|---|---|")
        print(f"| the network alone | {alone:.1f} images/s |")
        share = f"{rate / alone:.0%} of that"
        print(f"| features of {count} images, with decoding | {rate:.1f} images/s, {share} |")
        total, most = 0, 0
        for name in NETWORKS:
            seconds, peak = evaluations(experiment, name, features[name])
            print(f"| all evaluations, {name} | {as_text(seconds, peak)} |", flush=True)
            total, most = total + seconds, max(most, peak)
        print(f"| all evaluations together | {as_text(total, most)} |")


def as_text(seconds, peak):
    return f"{seconds:.0f} s, at most {peak / 2**30:.2f} GB of memory"


if __name__ == "__main__":
    main()
