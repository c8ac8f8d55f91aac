"""The features of the trained network and of the baselines, in one pass."""

import dataclasses
import functools
import hashlib
import pathlib

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr.config import Config, backbones
from tf_simclr.config.registry import ENCODER_LAYERS
from tf_simclr.config.version import __version__
from tf_simclr.data.source import UNLABELED, Source
from tf_simclr.evaluation import features
from tf_simclr.evaluation.feature_store import FeatureStore
from tf_simclr.evaluation.metrics import EVALUATIONS
from tf_simclr.evaluation.metrics.base import Examples
from tf_simclr.runs import files as run_files

LOGITS = "logits_sup"
ABOUT_EXAMPLES = ("label", "position")  # arrays that are not features
MAX_VIEWED = 512  # test images of which two views are taken


@dataclasses.dataclass(frozen=True)
class EvaluationData:
    """The sources of an evaluation.

    Attributes:
        train: labeled training examples; None: there are none.
        test: test examples.
        held_out: labeled examples that a validation during the training holds out, or None.
        reference: training images, without labels, that others are compared with, or None.
    """

    train: Source | None
    test: Source
    held_out: Source | None = None
    reference: Source | None = None

    @functools.cached_property
    def fingerprint(self) -> str:
        """A text that changes with the examples; it takes a look at all of them, once."""
        sources = (self.train, self.test, self.held_out, self.reference)
        return " ".join(source.fingerprint() for source in sources if source is not None)


@dataclasses.dataclass(frozen=True)
class NetworkFeatures:
    """What one network makes of the examples.

    Attributes:
        train: {layer: float32 [N, C]}, with "label" and "position" (in the source) int64 [N];
            None: there are no training examples.
        test: the same of test examples; examples without label only where none has one.
        views: {layer: float32 [M, 2, C]} of two views of some test examples, or None.
        held_out: as `train`, of `EvaluationData.held_out`.
        reference: as `train`, of `EvaluationData.reference`.
    """

    train: dict | None
    test: dict
    views: dict | None
    held_out: dict | None = None
    reference: dict | None = None

    @property
    def layers(self) -> list[str]:
        """Names of what was computed of the test examples, the logits included."""
        return [name for name in self.test if name not in ABOUT_EXAMPLES]

    def examples(self, layer: str) -> tuple[Examples | None, Examples]:
        """(training, test) examples of a layer."""
        train = None
        if self.train is not None:
            train = Examples(self.train[layer], self.train["label"])
        views = self.views.get(layer) if self.views else None
        return train, Examples(self.test[layer], self.test["label"], views)


def compute_features(
    objective,
    data: EvaluationData,
    *,
    evaluations: tuple[str, ...],
    settings: Config,
    strategy: tf.distribute.Strategy,
    directory: pathlib.Path,
    baselines: dict[str, object] | None = None,
) -> dict[str, NetworkFeatures]:
    """The features that some evaluations need; all networks see the images in the same pass.

    Args:
        objective: the trained network, see `models.network.Network`.
        data: what is evaluated on.
        evaluations: their names.
        settings: the whole configuration.
        strategy: of the network's variables.
        directory: `epath.Path` of the run, where features are kept.
        baselines: {name: network}, see `baselines.make_networks`; None: only the trained network.

    Returns:
        {"trained": features}, and of each baseline by its `network_of`.
    """
    layers = selected_layers(settings)
    functions = {"trained": features.layer_features(objective, [*layers, LOGITS])}
    for name, network in (baselines or {}).items():
        if network is None:
            functions[name] = features.pixel_features
        else:
            functions[network_of(name)] = features.layer_features(network, layers)
    mappers = _make_mappers(objective, data, evaluations, functions, settings, strategy)
    store = _feature_store(directory, strategy)
    depends_on = dependencies_of_features(objective.exported_layers(), data, settings)
    arrays = {}
    for examples, (source, mapper) in mappers.items():
        # A worker alone keeps nothing, so that all workers compute or none does.
        loaded = None if baselines else store.load(examples, depends_on)
        if loaded is None:
            compute = functools.partial(mapper, source, f"evaluating, {examples}")
            loaded = store.compute(examples, depends_on, compute, _is_kept)
        arrays[examples] = _with_checked_labels(loaded, source)
    return {
        network: NetworkFeatures(
            train=_of_network(arrays.get("train"), network),
            test=_of_network(arrays["test"], network),
            views=_of_network(arrays.get("views"), network),
            held_out=_of_network(arrays.get("held_out"), network),
            reference=_of_network(arrays.get("reference"), network),
        )
        for network in functions
    }


def network_of(baseline: str) -> str:
    """What a baseline is called in results: of a published network without its path."""
    return backbones.without_path(baseline)


def _is_kept(name):
    """Whether an array is kept: those of the baselines are not."""
    return name.startswith("trained.") or name == "label"


def _make_mappers(objective, data, evaluations, functions, settings, strategy):
    """{field of `NetworkFeatures`: (source, function of `features.feature_mapper`)}."""
    function = tf.function(_combined(functions), autograph=False)
    batch_size = settings.eval.eval_batch_size
    mapper = features.feature_mapper(function, objective.eval_example, batch_size, strategy)
    mappers = {}
    needs_train = any(EVALUATIONS[name].needs_training_examples for name in evaluations)
    if needs_train and data.train is not None:
        mappers["train"] = data.train, mapper
    mappers["test"] = data.test, mapper
    if data.held_out is not None:
        mappers["held_out"] = data.held_out, mapper
    if data.reference is not None:
        mappers["reference"] = data.reference, mapper
    if any(EVALUATIONS[name].needs_views for name in evaluations):
        # As many views as images above, where that is possible: nothing is traced again.
        is_even = batch_size % (2 * strategy.num_replicas_in_sync) == 0
        view_mapper = features.feature_mapper(
            features.view_features(function, settings.augment),
            features.two_views(settings),
            batch_size // 2 if is_even else batch_size,
            strategy,
        )
        mappers["views"] = data.test.at_most(MAX_VIEWED, 0), view_mapper
    return mappers


def _combined(functions):
    """{network: function} as one function, whose outputs are named network.layer."""

    def function(images):
        outputs = {}
        for network, of_network in functions.items():
            for layer, value in of_network(images).items():
                outputs[f"{network}.{layer}"] = value
        return outputs

    return function


def _of_network(arrays, network):
    """Of the arrays of all networks those of one, by layer; None of None."""
    if arrays is None:
        return None
    prefix = f"{network}."
    chosen = {name: arrays[name] for name in ABOUT_EXAMPLES}
    for name, values in arrays.items():
        if name.startswith(prefix):
            chosen[name.removeprefix(prefix)] = values
    return chosen


def _with_checked_labels(arrays, source):
    """The arrays of the examples with a label, or of all if none has one.

    A stream shows only when it is read which those are.
    """
    labels = _checked_labels(arrays["label"], source)
    arrays = {**arrays, "label": labels, "position": np.arange(len(labels))}
    return features.labeled_rows(arrays) if (labels != UNLABELED).any() else arrays


def _checked_labels(labels, source):
    """Labels [N], where those that are no class are replaced by -1."""
    is_wrong = (labels < UNLABELED) | (labels >= max(source.num_classes, 1))
    if is_wrong.any():
        logging.warning(
            "%s, split %s: %d labels are no number of one of the %d classes (e.g. %d); "
            "those examples count as unlabeled",
            source.name,
            source.split,
            is_wrong.sum(),
            source.num_classes,
            labels[is_wrong][0],
        )
    return np.where(is_wrong, UNLABELED, labels)


def selected_layers(settings: Config) -> list[str]:
    """The names of the layers to evaluate; the network may not have all of them."""
    numbers = range(1, settings.model.num_proj_layers + 1)
    known = (*ENCODER_LAYERS, *(f"proj_head_{number}" for number in numbers))
    selected = settings.eval.eval_layers
    return [name for name in known if name in selected or "all" in selected]


def _feature_store(directory, strategy):
    """Features are kept beside a run, unless several processes or a bucket would share them."""
    is_local = "://" not in str(directory)
    is_alone = not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    if is_local and is_alone:
        return FeatureStore(pathlib.Path(directory) / run_files.FEATURES)
    return FeatureStore(None)


def dependencies_of_features(network_layers: list, data: EvaluationData, settings: Config) -> str:
    """A text that changes with anything that the features of a network depend on.

    Args:
        network_layers: of the network.
        data: what is evaluated on.
        settings: the whole configuration.
    """
    return " ".join(
        [
            __version__,
            fingerprint_of_weights(network_layers),
            data.fingerprint,
            str(settings.preprocessing),
            settings.model.precision,
            str(settings.augment),
            str(selected_layers(settings)),
        ]
    )


def fingerprint_of_weights(layers: list) -> str:
    """A text that changes with the weights of some layers."""
    digest = hashlib.sha256()
    for layer in layers:
        for variable in layer.variables:
            digest.update(variable.path.encode())
            digest.update(variable.numpy().tobytes())
    return digest.hexdigest()
