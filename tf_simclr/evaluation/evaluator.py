"""Puts the trained network and the baselines through all evaluations."""

from collections.abc import Sequence

import tensorflow as tf
from absl import logging
from etils import epath

from tf_simclr import distribute
from tf_simclr.config import Config
from tf_simclr.config.evaluation_sections import EvalConfig
from tf_simclr.config.version import __version__
from tf_simclr.console import announced_if_slow
from tf_simclr.data.source import Source
from tf_simclr.evaluation import baselines, metrics
from tf_simclr.evaluation.metrics import EVALUATIONS
from tf_simclr.evaluation.metrics.base import MAX_EXAMPLES, NotPossible
from tf_simclr.evaluation.network_features import (
    LOGITS,
    EvaluationData,
    NetworkFeatures,
    compute_features,
    network_of,
)
from tf_simclr.evaluation.results import Results
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory

# Flags of the evaluation that change no metric of the baselines.
IRRELEVANT_FLAGS = (
    "eval_name",
    "eval_timeout",
    "untrained_baseline",  # which `Config.baselines` has taken account of
    "baselines",
    "transfer_datasets",
    "transfer_epochs",
)
CLASSIFIER = "classifier"  # the name of the logits among layers
# Of baselines.json: 3 says which networks they are. Others are computed anew.
BASELINES_VERSION = 3


def evaluation_data(train_source: Source, test_source: Source, settings: Config) -> EvaluationData:
    """What is evaluated on: seeded draws of `knn_examples` images and of `eval_steps` batches.

    Test images without label are there only where none has one, and no more of them than clustering
    and health take.
    """
    options = settings.eval
    train = None
    if options.knn_examples and train_source.num_labeled:
        train = train_source.labeled().at_most(options.knn_examples, settings.train.seed)
    test = test_source.labeled() if test_source.num_labeled else test_source
    if options.eval_steps:
        test = test.at_most(options.eval_steps * options.eval_batch_size, 0)
    elif not test.num_labeled and test.num_examples > MAX_EXAMPLES:
        logging.info(
            "no image of split %s has a label: %d of its %d are evaluated, a draw; --eval_steps "
            "takes more",
            test.split,
            MAX_EXAMPLES,
            test.num_examples,
        )
        test = test.at_most(MAX_EXAMPLES, 0)
    return EvaluationData(train, test)


def evaluate(
    objective,
    data: EvaluationData,
    *,
    settings: Config,
    strategy: tf.distribute.Strategy,
    directory: RunDirectory,
    make_baseline,
    names: tuple[str, ...] | None = None,
    related: Sequence[epath.Path] = (),
) -> tuple[Results, NetworkFeatures]:
    """Evaluates the weights as they are.

    The results of the baselines are kept in `baselines.json`, and taken from that of another stage
    where they are the same.

    Args:
        objective: the trained network.
        data: what is evaluated on.
        settings: the whole configuration.
        strategy: of the network's variables.
        directory: of the run.
        make_baseline: makes a network of its name in --baselines.
        names: of evaluations; None: those of the configuration.
        related: run directories of other stages.

    Returns:
        (results of all networks, features of the trained one).
    """
    options = settings.eval
    names = options.evaluations if names is None else names
    baseline_names = []
    if settings.baselines:
        baseline_names = [name for name in names if EVALUATIONS[name].of_baselines]
    depends_on = dependencies(data, baseline_names, settings)
    saved = directory.read(run_files.BASELINES) or {}
    networks, about = {}, {"asked": depends_on}
    is_new = baseline_names and saved.get("asked") != depends_on
    is_new = distribute.any_worker(strategy, is_new)  # all workers do the same
    if is_new:
        networks = baselines.make_networks(settings, make_baseline)
        about["networks"] = baselines.fingerprints(networks, data, settings)
        saved = baselines.of_other_runs(related, about)
        if not distribute.any_worker(strategy, saved is None):
            networks = {}
    network_features = compute_features(
        objective,
        data,
        evaluations=names,
        settings=settings,
        strategy=strategy,
        directory=directory.path,
        baselines=networks,
    )
    if networks:
        of_baselines = Results()
        for baseline in networks:
            network = network_of(baseline)
            features = network_features.pop(network)
            evaluate_network(of_baselines, network, features, baseline_names, options)
        saved = {**about, "findings": of_baselines.as_json()}
    if is_new and distribute.is_chief(strategy):
        directory.write(run_files.BASELINES, saved)
    results = Results()
    trained_features = network_features["trained"]
    evaluate_network(results, "trained", trained_features, names, options)
    if baseline_names:
        results.include(Results.from_json(saved["findings"]))
    return results, trained_features


def dependencies(data: EvaluationData, names: list[str], settings: Config) -> dict:
    """What the results of the evaluations `names` depend on, but for the weights."""
    flags = {
        name: value
        for name, value in settings.evaluation_flags.items()
        if name not in IRRELEVANT_FLAGS
    }
    return {
        **flags,
        "version": __version__,
        "baselines_version": BASELINES_VERSION,
        "evaluations": list(names),
        "baselines": list(settings.baselines),
        "class_weights": settings.eval.class_weights,
        "data": data.fingerprint,
    }


def evaluate_network(
    results: Results,
    network: str,
    features: NetworkFeatures,
    names: tuple[str, ...],
    options: EvalConfig,
):
    """Adds the results of the evaluations `names` on all layers of a network."""
    if CLASSIFIER in names and LOGITS not in features.test:
        reason = "the network has no linear classifier"
        results.leave_out(network, CLASSIFIER, CLASSIFIER, reason)
    for layer in features.layers:
        for name in names:
            if _applies(name, layer, options):
                _evaluate_layer(results, network, features, layer, name, options)


def _applies(name, layer, options):
    """Whether an evaluation is of this layer, and there are the examples that it needs."""
    evaluation = EVALUATIONS[name]
    is_of_layer = (evaluation.reads == "logits") == (layer == LOGITS)
    has_examples = options.knn_examples or not evaluation.needs_training_examples
    return is_of_layer and bool(has_examples)


def _evaluate_layer(results, network, features, layer, name, options):
    layer_name = CLASSIFIER if layer == LOGITS else layer
    try:
        train, test = features.examples(layer)
        with announced_if_slow(f"{name} of the {network} network, {layer_name}"):
            values, details = metrics.run(name, train, test, options)
        results.add(network, layer_name, values, details)
    except NotPossible as reason:
        results.leave_out(network, layer_name, name, str(reason))
