"""Which networks and which of their layers results are of."""

from tf_simclr.config import backbones

NETWORKS = {
    "pixels": "raw pixels",
    "untrained": "untrained network",
    "trained": "this network",
}
BASELINES = {"pixels": "raw pixels", "untrained": "untrained"}
TRAINED = "trained"
CLASSIFIER = "classifier"  # counts as a layer
ENCODER_OUTPUT = "final_avg_pool"


def metrics_of(document: dict, network: str, *layers: str) -> dict[str, float]:
    """{metric name: value} of a network at one or several layers together.

    Raw pixels are one layer of their own, whatever `layers` are.
    """
    of_layers = document["figures"].get(network, {})
    metrics = {}
    for layer in of_layers if network == "pixels" else layers:
        metrics |= of_layers.get(layer, {})
    return metrics


def networks_of(*documents: dict) -> dict[str, str]:
    """{network: its name} of results, the trained one last.

    Args:
        documents: of `results.json`, whose published networks stand after the other baselines.
    """
    networks = [*BASELINES]
    for document in documents:
        networks += filter(backbones.is_published, document["figures"])
    return {network: network_title(network) for network in (*networks, TRAINED)}


def network_title(network: str) -> str:
    """What a network is called in tables."""
    return NETWORKS.get(network) or backbones.name_of(network)


def headline_layers(document: dict) -> tuple[str, str]:
    """The encoder's output, or the last layer that was evaluated, and the classifier."""
    layers = evaluated_layers(document)
    if not layers or ENCODER_OUTPUT in layers:
        return ENCODER_OUTPUT, CLASSIFIER
    return layers[-1], CLASSIFIER


def has_learned_labels(document: dict) -> bool:
    """Whether the trained network has learned from the labels that probes are fitted to.

    Then its accuracy with few of these says nothing of what further labels give.

    Args:
        document: a results.json; of an older one the kind of training decides.
    """
    run = document["run"]
    is_on_labels = run.get("train_mode", "pretrain") != "pretrain"
    return run.get("learned_labels", is_on_labels)


def left_out(document: dict) -> list[tuple[list[str], list[str], str]]:
    """[(evaluations, networks with the layer, reason)] of what was not evaluated.

    Evaluations that were left out of the same layers for the same reason stand together.
    """
    layers_of = {}
    for entry in document["left_out"]:
        layers = layers_of.setdefault((entry["evaluation"], entry["reason"]), [])
        layers.append(f"{entry['network']} {entry['place']}")
    groups = {}
    for (evaluation, reason), layers in layers_of.items():
        groups.setdefault((tuple(layers), reason), []).append(evaluation)
    return [(names, list(layers), reason) for (layers, reason), names in groups.items()]


def evaluated_layers(document: dict) -> list[str]:
    """The layers that were evaluated, from the input to the output."""
    names = set()
    for network in ("trained", "untrained"):
        names |= set(document["figures"].get(network, {}))
    names -= {CLASSIFIER}
    listed = [layer for layer in document["run"].get("layers", []) if layer in names]
    return listed + sorted(names - set(listed))
