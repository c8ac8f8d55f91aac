"""The encoder on other data sets: probed, and fine-tuned (SimCLR sec. 6, table 8)."""

import hashlib
import re

from tf_simclr import distribute
from tf_simclr.data import datasets
from tf_simclr.errors import Interrupted, UserError
from tf_simclr.evaluation import evaluator
from tf_simclr.evaluation.metrics.base import NotPossible
from tf_simclr.training import initialization, loop
from tf_simclr.training.experiment import Experiment

ROW = "transfer.json"  # in the run directory of a data set: its row of the table
BATCH = 256
# What a training on another data set does not take from the run: the second part as in recipe imagenet_to_cifar10_finetune.
OWN = {
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
    "checkpoint_steps": 0,
    "ft_proj_selector": 0,
    "fine_tune_after_block": -1,
    "eval_layers": ("final_avg_pool",),
    "optimizer": "momentum",
    "learning_rate": 0.05,
    "learning_rate_scaling": "linear",
    "warmup_epochs": 0.0,
    "weight_decay": 0.0,
}


def transfer(experiment, findings):
    """A row for each of `transfer_datasets`: [{"dataset", "classes", "labels", "test", "probe", "untrained_probe", "fine_tuned"}].

    Probes are logistic regression on all labels. Each data set has a run directory of its own, RUN/transfer/NAME-NUMBER, where the training
    goes on if it was interrupted, and what is finished is not done again. A data set with which it can't be done is left out, with the
    reason in `findings`.

    Raises:
        Interrupted: the training of one of them was, and is saved.
    """
    rows = []
    for name in experiment.settings.eval.transfer_datasets:
        try:
            rows.append(_row(settings_for(experiment, name)))
        except Interrupted:
            raise
        except (UserError, NotPossible) as error:
            findings.leave_out("trained", name, "transfer", str(error))
    return rows


def settings_for(experiment, dataset):
    """The configuration of the training on `dataset` that starts from the newest weights of the run."""
    settings, replicas = experiment.settings, experiment.strategy.num_replicas_in_sync
    train_split, eval_split = datasets.train_and_test(settings.data, dataset)
    start = experiment.imported.path if experiment.imported else experiment.checkpoints.latest()
    values = {
        **OWN,
        "dataset": dataset,
        "train_split": train_split,
        "eval_split": eval_split,
        "checkpoint": start,
        "train_epochs": max(settings.eval.transfer_epochs, 1),
        "train_batch_size": -(-BATCH // replicas) * replicas,
    }
    name = re.sub(r"\W+", "_", dataset.removeprefix("folder:")).strip("_")[-40:]
    number = hashlib.sha256(repr(values).encode()).hexdigest()[
        :8
    ]  # another start, number of epochs or path is another run
    return settings.replace(
        **values, model_dir=str(experiment.directory.path / "transfer" / f"{name}-{number}")
    )


def _row(settings):
    experiment = Experiment(settings)
    data = evaluator.data(experiment)
    asked = {
        **evaluator.asked(experiment, data, ("probe", "classifier")),
        "epochs": settings.eval.transfer_epochs,
    }
    saved = experiment.directory.read(ROW) or {}
    if not distribute.any_worker(experiment.strategy, saved.get("asked") != asked):
        return saved["row"]
    if distribute.is_chief(experiment.strategy):
        experiment.directory.create()
    initialization.initialize(experiment)
    figures = evaluator.measure(experiment, data, ("probe",))[0].figures
    probes = {
        network: figures.get(network, {}).get("final_avg_pool", {}).get("linear_probe_accuracy")
        for network in ("trained", "untrained")
    }
    row = {
        "dataset": settings.data.dataset,
        "classes": experiment.train_source.num_classes,
        "labels": experiment.train_source.num_labeled,
        "test": data.test.num_examples,
        "probe": probes["trained"],
        "untrained_probe": probes["untrained"],
        "fine_tuned": None,
    }
    if settings.eval.transfer_epochs:
        loop.fit(experiment)
        figures = evaluator.measure(experiment, data, ("classifier",))[0].figures
        row["fine_tuned"] = (
            figures.get("trained", {}).get("classifier", {}).get("label_top_1_accuracy")
        )
    if distribute.is_chief(experiment.strategy):
        experiment.directory.write(ROW, {"asked": asked, "row": row})
    distribute.barrier(experiment.strategy)
    return row
