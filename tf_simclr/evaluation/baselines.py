"""What baselines a run is compared with, and whether another stage of its chain has their results.

The untrained network and raw pixels are the same in most stages of a chain, so they are evaluated
once for all.
"""

import hashlib
from collections.abc import Sequence

from etils import epath

from tf_simclr.config import Config
from tf_simclr.config.backbones import PIXELS
from tf_simclr.evaluation.network_features import (
    EvaluationData,
    dependencies_of_features,
    network_of,
    selected_layers,
)
from tf_simclr.runs import files as run_files


def make_networks(settings: Config, make_baseline) -> dict[str, object]:
    """{name in --baselines: its network}; None stands for raw pixels.

    Args:
        settings: the whole configuration.
        make_baseline: makes a network of its name.
    """
    return {name: None if name == PIXELS else make_baseline(name) for name in settings.baselines}


def fingerprints(networks: dict, data: EvaluationData, settings: Config) -> dict[str, str]:
    """{network: a text that changes with anything that its features depend on}.

    Args:
        networks: of `make_networks`.
        data: what is evaluated on.
        settings: the whole configuration.
    """
    texts = {}
    for name, network in networks.items():
        text = dependencies_of_features(_evaluated_layers(network, settings), data, settings)
        texts[network_of(name)] = hashlib.sha256(text.encode()).hexdigest()
    return texts


def _evaluated_layers(network, settings):
    """What of a network is evaluated: without the projection head where only features are."""
    if network is None:
        return []
    head = getattr(network, "projection_head", None)
    of_head = any(name.startswith("proj_head") for name in selected_layers(settings))
    return [network.encoder, head] if head is not None and of_head else [network.encoder]


def of_other_runs(directories: Sequence[epath.Path], about: dict) -> dict | None:
    """The saved results of the same baselines in one of these run directories, or None.

    Args:
        directories: of other stages.
        about: {"asked": `evaluator.dependencies`, "networks": `fingerprints`}.
    """
    for directory in directories:
        saved = run_files.read_json(directory / run_files.BASELINES) or {}
        if about.items() <= saved.items():
            return saved
    return None
