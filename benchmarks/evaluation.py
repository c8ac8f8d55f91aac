"""How fast features are extracted beside the bare network, and what all evaluations of them take: `python -m benchmarks.evaluation`.

    python -m benchmarks.evaluation --dataset=cifar10 --data_dir=TFDS_DIR --image_size=32 --depth=18

trains for a few steps, so that the features are not those of random weights, and evaluates on the whole test split with the whole
training split as examples to fit to: the trained network, the untrained one, and raw pixels.
"""

import argparse
import tempfile
import time

from benchmarks.peak import Peak


def bare_rate(experiment, batch_size, rounds=10):
    """Images/s of the network alone, on images that are in memory; the median of `rounds`."""
    import statistics

    import tensorflow as tf

    size = experiment.settings.data.image_size
    images = tf.random.uniform([batch_size, size, size, 3])
    function = tf.function(experiment.objective.layers_of, autograph=False)
    seconds = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        function(images)["final_avg_pool"].numpy()
        seconds.append(time.perf_counter() - began)
    return batch_size / statistics.median(seconds[1:])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in {
        "dataset": "digits",
        "data_dir": "",
        "image_size": 32,
        "depth": 18,
        "width": 1.0,
        "batch": 256,
        "train_steps": 20,
        "examples": 10**6,
    }.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    options = parser.parse_args()
    import tf_simclr  # noqa: F401  isort: skip  sets the environment before TensorFlow is imported

    from tf_simclr import config
    from tf_simclr.evaluation import evaluator
    from tf_simclr.evaluation.results import Results
    from tf_simclr.training import loop
    from tf_simclr.training.experiment import Experiment

    with tempfile.TemporaryDirectory() as folder:
        experiment = Experiment(
            config.build(
                {
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
            )
        )
        loop.fit(experiment)
        bare = bare_rate(experiment, options.batch)
        sources, names = evaluator.data(experiment), experiment.settings.eval.evaluations
        count = sources.train.num_examples + sources.test.num_examples
        began = time.perf_counter()
        rows = evaluator.rows_of(experiment, sources, names, ("trained",))
        extraction = count / (time.perf_counter() - began)
        print(
            f"\n{options.dataset}, {count} images, ResNet-{options.depth} {options.width:g}x, {options.image_size} pixels\n\n| what | figure |\n|---|---|"
        )
        print(f"| the network alone | {bare:.1f} images/s |")
        print(
            f"| features of {count} images, with decoding | {extraction:.1f} images/s, {extraction / bare:.0%} of that |",
            flush=True,
        )
        seconds, peaks = {}, []
        for network in ("trained", "untrained", "pixels"):
            rows = (
                rows
                if network in rows
                else evaluator.rows_of(experiment, sources, names, (network,))
            )
            with Peak() as peak:
                began = time.perf_counter()
                chosen = [
                    name
                    for name in names
                    if network == "trained" or name not in ("classifier", "neighbors")
                ]
                evaluator.evaluate(
                    Results(), network, rows[network], chosen, experiment.settings.eval
                )
                seconds[network] = time.perf_counter() - began
            peaks.append(peak.most / 2**30)
            print(
                f"| all evaluations, {network} | {seconds[network]:.0f} s, at most {peaks[-1]:.2f} GB of memory |",
                flush=True,
            )
        print(
            f"| all evaluations together | {sum(seconds.values()):.0f} s, at most {max(peaks):.2f} GB of memory |"
        )


if __name__ == "__main__":
    main()
