"""Features of the trained network, of the untrained one and of raw pixels, through all evaluations."""

import dataclasses
import functools
import hashlib
import pathlib
import time

import numpy as np
import tensorflow as tf
from absl import logging

import tf_simclr
from tf_simclr import distribute
from tf_simclr.config.registry import ENCODER_LAYERS
from tf_simclr.data.source import UNLABELED, Source
from tf_simclr.evaluation import features, metrics
from tf_simclr.evaluation.feature_store import FeatureStore
from tf_simclr.evaluation.metrics import EVALUATIONS
from tf_simclr.evaluation.metrics.base import Examples, NotPossible
from tf_simclr.evaluation.results import Results

BASELINES = "baselines.json"  # findings on the untrained network and raw pixels
NOT_OF_FIGURES = (
    "eval_name",
    "eval_timeout",
    "untrained_baseline",
    "transfer_datasets",
    "transfer_epochs",
)  # flags that change no figure of them
LOGITS = "logits_sup"
NOT_LAYERS = ("label", "position", LOGITS)  # of the names of rows
VIEWS_OF = 512  # test images of which two views are taken
SLOW = 5  # seconds after which an evaluation is in the log


@dataclasses.dataclass(frozen=True)
class Data:
    """The sources of an evaluation: labelled training examples (None: there are none), test examples."""

    train: Source | None
    test: Source

    @functools.cached_property
    def fingerprint(self):
        """Text that is another one if the examples are; found once, since it takes a look at all of them."""
        return " ".join(
            source.fingerprint() for source in (self.train, self.test) if source is not None
        )


@dataclasses.dataclass(frozen=True)
class Rows:
    """One network's {place: array [N, C]}, "label" and "position" (in the source) of training and test examples, {place: [M, 2, C]} of views.

    Test examples without label are there only where none has one. None: there are no such examples.
    """

    train: dict | None
    test: dict
    views: dict | None

    def examples(self, place):
        """(training, test) `Examples` of a place."""
        train = Examples(self.train[place], self.train["label"]) if self.train is not None else None
        return train, Examples(
            self.test[place],
            self.test["label"],
            self.views[place] if self.views and place in self.views else None,
        )


def data(experiment):
    """What is evaluated on, seeded draws of `knn_examples` and of `eval_steps` batches; test images without label only where none has one."""
    settings = experiment.settings
    train, test = experiment.train_source, experiment.eval_source
    train = (
        train.labeled().at_most(settings.eval.knn_examples, settings.train.seed)
        if settings.eval.knn_examples and train.num_labeled
        else None
    )
    test = test.labeled() if test.num_labeled else test
    return Data(
        train,
        test.at_most(settings.eval.eval_steps * settings.eval.eval_batch_size, 0)
        if settings.eval.eval_steps
        else test,
    )


def measure(experiment, sources, names=None):
    """(`Findings`, the trained network's `Rows`) of the weights as they are.

    Args:
        sources: `Data`. names: of evaluations; None: those of the configuration.
    """
    options, findings = experiment.settings.eval, Results()
    names = options.evaluations if names is None else names
    # The linear classifier is part of what was trained: without training it has nothing to say. Neighbours are for looking at.
    of_baselines = [
        name
        for name in names
        if name not in ("classifier", "neighbors") and options.untrained_baseline
    ]
    wanted = asked(experiment, sources, of_baselines)
    saved = experiment.directory.read(BASELINES) or {}
    if not distribute.any_worker(
        experiment.strategy, of_baselines and saved.get("asked") != wanted
    ):  # all workers do the same
        rows = rows_of(experiment, sources, names, ("trained",))
    else:
        rows = rows_of(experiment, sources, names, ("trained", "untrained", "pixels"))
        baselines = Results()
        for network in ("untrained", "pixels"):
            evaluate(baselines, network, rows.pop(network), of_baselines, options)
        saved = {"asked": wanted, "findings": dataclasses.asdict(baselines)}
        if distribute.is_chief(experiment.strategy):
            experiment.directory.write(BASELINES, saved)
    evaluate(findings, "trained", rows["trained"], names, options)
    if of_baselines:
        findings.include(**saved["findings"])
    return findings, rows["trained"]


def asked(experiment, sources, names):
    """What the findings on the baselines depend on."""
    flags = {
        name: value
        for name, value in experiment.settings.evaluation_flags.items()
        if name not in NOT_OF_FIGURES
    }
    return {
        **flags,
        "version": tf_simclr.__version__,
        "evaluations": list(names),
        "data": sources.fingerprint,
    }


def evaluate(findings, network, rows, names, options):
    """Puts into `Findings` what the evaluations `names` give of the `Rows` of a network."""
    if "classifier" in names and LOGITS not in rows.test:
        findings.leave_out(
            network, "classifier", "classifier", "the network has no linear classifier"
        )
    for place in [place for place in rows.test if place not in ("label", "position")]:
        for name in [name for name in names if _applies(EVALUATIONS[name], place, options)]:
            where, began = "classifier" if place == LOGITS else place, time.monotonic()
            try:
                findings.add(network, where, *metrics.run(name, *rows.examples(place), options))
            except NotPossible as reason:
                findings.leave_out(network, where, name, str(reason))
            if time.monotonic() - began > SLOW:
                logging.info(
                    "%s network, %s: %s took %.0f s", network, where, name, time.monotonic() - began
                )


def _applies(one, place, options):
    return (one.of == "logits") == (place == LOGITS) and bool(options.knn_examples or not one.train)


def rows_of(experiment, sources, names, networks):
    """{network: `Rows`}; all networks see the images in the same pass."""
    settings, layers = experiment.settings, _layers(experiment.settings)
    of = {
        "trained": lambda: features.layer_features(experiment.objective, [*layers, LOGITS]),
        "pixels": lambda: features.pixel_features,
        "untrained": lambda: features.layer_features(experiment.make_objective(), layers),
    }
    function, batch_size = (
        tf.function(_of_all({network: of[network]() for network in networks}), autograph=False),
        settings.eval.eval_batch_size,
    )
    one = features.feature_mapper(
        function, experiment.objective.eval_example, batch_size, experiment.strategy
    )
    parts = {
        "train": (sources.train if any(EVALUATIONS[name].train for name in names) else None, one),
        "test": (sources.test, one),
    }
    if "health" in names:
        half = (
            batch_size // 2
            if batch_size % (2 * experiment.strategy.num_replicas_in_sync) == 0
            else batch_size
        )  # as many images as above: nothing is traced again
        both = features.feature_mapper(
            features.view_features(function, settings.augment),
            features.two_views(settings),
            half,
            experiment.strategy,
        )
        parts["views"] = sources.test.at_most(VIEWS_OF, 0), both
    store, found = _store(experiment), {}
    of_what = " ".join(
        map(
            str,
            (
                tf_simclr.__version__,
                _fingerprint_of_weights(experiment.objective),
                sources.fingerprint,
                settings.data.image_size,
                settings.model.precision,
                settings.augment,
                layers,
            ),
        )
    )
    for part, (source, mapper) in parts.items():
        if source is not None:
            rows = store.load(part, of_what) if networks == ("trained",) else None
            if rows is None:  # never so on one worker alone, which keeps nothing
                compute = functools.partial(mapper, source, f"evaluating, {part}")
                rows = store.keep(
                    part,
                    of_what,
                    compute,
                    lambda name: name.startswith("trained.") or name == "label",
                )
            found[part] = _labeled(
                {
                    **rows,
                    "label": _checked(rows["label"], source),
                    "position": np.arange(len(rows["label"])),
                }
            )
    return {
        network: Rows(*(_of_one(found.get(part), network) for part in ("train", "test", "views")))
        for network in networks
    }


def _labeled(rows):
    """Only the rows with a label; all, if none has one. A stream shows only when it is read which those are."""
    return features.labeled_rows(rows) if (rows["label"] != UNLABELED).any() else rows


def _of_all(functions):
    """{network: function} as one function, whose names are network.place."""
    return lambda images: {
        f"{network}.{place}": value
        for network, function in functions.items()
        for place, value in function(images).items()
    }


def _of_one(rows, network):
    """Of the rows of all networks those of one, by place; None of None."""
    if rows is None:
        return None
    return {
        "label": rows["label"],
        "position": rows["position"],
        **{
            name.removeprefix(f"{network}."): values
            for name, values in rows.items()
            if name.startswith(f"{network}.")
        },
    }


def _checked(labels, source):
    """`labels` [N], those that are no class replaced by -1."""
    wrong = (labels < UNLABELED) | (labels >= max(source.num_classes, 1))
    if wrong.any():
        logging.warning(
            "%s, split %s: %d labels are no number of one of the %d classes (e.g. %d); those examples count as unlabelled",
            source.name,
            source.split,
            wrong.sum(),
            source.num_classes,
            labels[wrong][0],
        )
    return np.where(wrong, UNLABELED, labels)


def _layers(settings):
    """The names of the layers that are evaluated; all but for those that the network may not have, see `features.of_layers`."""
    known = (
        *ENCODER_LAYERS,
        *(f"proj_head_{layer}" for layer in range(1, settings.model.num_proj_layers + 1)),
    )
    return [
        name
        for name in known
        if name in settings.eval.eval_layers or "all" in settings.eval.eval_layers
    ]


def _store(experiment):
    """Where features are kept: beside the run, unless several processes or a bucket would have to agree on it."""
    local = "://" not in str(experiment.directory.path)
    several = isinstance(experiment.strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return FeatureStore(
        pathlib.Path(experiment.directory.path) / "features" if local and not several else None
    )


def _fingerprint_of_weights(objective):
    digest = hashlib.sha256()
    for part in objective.exported_layers():
        for variable in part.variables:
            digest.update(variable.path.encode())
            digest.update(variable.numpy().tobytes())
    return digest.hexdigest()
