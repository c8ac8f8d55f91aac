"""The encoder on other data sets: probed, and fine-tuned (SimCLR section 6, table 8)."""

import hashlib
import re

from tf_simclr import config, distribute
from tf_simclr.config import Config, recipes
from tf_simclr.config.backbones import PIXELS, UNTRAINED
from tf_simclr.data import datasets
from tf_simclr.errors import Interrupted, UserError
from tf_simclr.evaluation import evaluator
from tf_simclr.evaluation.metrics.base import NotPossible
from tf_simclr.evaluation.results import Results
from tf_simclr.runs import files as run_files
from tf_simclr.training import initialization, loop
from tf_simclr.training.experiment import Experiment, build_experiment

RECIPE = "imagenet_to_cifar10_finetune"
# What the recipe says of the optimizer; its data and number of steps are of ImageNet's networks.
FROM_RECIPE = (
    "optimizer",
    "learning_rate",
    "learning_rate_scaling",
    "warmup_epochs",
    "weight_decay",
)
# What a training on another data set does not take from the run.
OWN_FLAGS = {
    "mode": "train_then_eval",
    "train_mode": "finetune",
    "transfer_datasets": (),
    "teacher_checkpoint": "",
    "unlabeled_dataset": "",
    "unlabeled_ratio": 0.0,
    "label_fraction": 1.0,
    "labels_per_class": 0,
    "eval_every_epochs": 0,
    "train_steps": 0,
    "steps_factor": 1,
    "checkpoint_steps": 0,
    "ft_proj_selector": 0,
    "fine_tune_after_block": -1,
    "keep_logits_layer": False,
    "eval_layers": ("final_avg_pool",),
    "baselines": (UNTRAINED, PIXELS),
}


def transfer(experiment: Experiment, results: Results) -> list[dict]:
    """Tries the encoder on each of `transfer_datasets`.

    Probes are logistic regression on all labels. Each data set has a run directory of its own,
    RUN/transfer/NAME-NUMBER, where an interrupted training resumes, and what is finished is not
    done again.

    Args:
        experiment: the run.
        results: a data set for which it is not possible is left out there, with the reason.

    Returns:
        [{"dataset", "classes", "labels", "test", "probe", "untrained_probe", "fine_tuned"}].

    Raises:
        Interrupted: the training on one of them was, and is saved.
    """
    table = []
    for dataset in experiment.settings.eval.transfer_datasets:
        try:
            table.append(_row(settings_for(experiment, dataset)))
        except Interrupted:
            raise
        except (UserError, NotPossible) as error:
            results.leave_out("trained", dataset, "transfer", str(error))
    return table


def settings_for(experiment: Experiment, dataset: str) -> Config:
    """The configuration of a training that starts from the newest weights of the run.

    Args:
        experiment: the run.
        dataset: the data set to train on.

    Raises:
        UserError: the data set has no splits to train and to evaluate on.
    """
    settings = experiment.settings
    recipe = recipes.read(recipes.find(RECIPE))
    train_split, eval_split = datasets.train_and_test(settings.data, dataset)
    if experiment.imported:
        checkpoint = experiment.imported.path
    else:
        checkpoint = experiment.checkpoints.latest()
    num_replicas = experiment.strategy.num_replicas_in_sync
    batch_size = -(-recipe["train_batch_size"] // num_replicas) * num_replicas
    flags = {
        **OWN_FLAGS,
        **_flags_of_recipe(recipe),
        "dataset": dataset,
        "train_split": train_split,
        "eval_split": eval_split,
        "checkpoint": checkpoint,
        "train_epochs": max(settings.eval.transfer_epochs, 1),
        "train_batch_size": batch_size,
    }
    # Another start, number of epochs or path is another run.
    # A run may have newer weights than when its path was given before.
    asked = (flags, experiment.imported.prefix) if experiment.imported else flags
    number = hashlib.sha256(repr(asked).encode()).hexdigest()[:8]
    name = re.sub(r"\W+", "_", dataset.removeprefix("folder:")).strip("_")[-40:]
    model_dir = experiment.directory.path / run_files.TRANSFER / f"{name}-{number}"
    return settings.replace(**flags, labels="", track=(), model_dir=str(model_dir))


def _flags_of_recipe(recipe):
    flags = {}
    for name in FROM_RECIPE:
        value = recipe.get(name, config.fields()[name].default)
        flags[name] = config.coerce(name, value)
    return flags


def _row(settings):
    """The row of one data set, from its run directory if it is finished there."""
    experiment = build_experiment(settings)
    directory, strategy = experiment.directory, experiment.strategy
    train_source = experiment.data.train_source
    data = evaluator.evaluation_data(train_source, experiment.eval_source, settings)
    depends_on = {
        **evaluator.dependencies(data, ("probe", "classifier"), settings),
        "epochs": settings.eval.transfer_epochs,
    }
    saved = directory.read(run_files.TRANSFER_ROW) or {}
    if not distribute.any_worker(strategy, saved.get("asked") != depends_on):
        return saved["row"]
    if distribute.is_chief(strategy):
        directory.create()
    initialization.initialize(
        experiment.objective, settings=settings, train_source=train_source, strategy=strategy
    )
    probes = _metrics_of(experiment, data, "probe")
    row = {
        "dataset": settings.data.dataset,
        "classes": train_source.num_classes,
        "labels": train_source.num_labeled,
        "test": data.test.num_examples,
        "probe": _metric(probes, "trained", "final_avg_pool", "linear_probe_accuracy"),
        "untrained_probe": _metric(probes, "untrained", "final_avg_pool", "linear_probe_accuracy"),
        "fine_tuned": None,
    }
    if settings.eval.transfer_epochs:
        loop.fit(experiment)
        metrics = _metrics_of(experiment, data, "classifier")
        row["fine_tuned"] = _metric(metrics, "trained", "classifier", "label_top_1_accuracy")
    if distribute.is_chief(strategy):
        directory.write(run_files.TRANSFER_ROW, {"asked": depends_on, "row": row})
    distribute.barrier(strategy)
    return row


def _metrics_of(experiment, data, evaluation):
    """The metrics of one evaluation of the weights as they are."""
    results, _ = evaluator.evaluate(
        experiment.objective,
        data,
        settings=experiment.settings,
        strategy=experiment.strategy,
        directory=experiment.directory,
        make_baseline=experiment.make_baseline,
        names=(evaluation,),
    )
    return results.metrics


def _metric(metrics, network, layer, name):
    return metrics.get(network, {}).get(layer, {}).get(name)
