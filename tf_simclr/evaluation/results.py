"""The results of an evaluation: metrics and details of each network and layer."""

import dataclasses

from tf_simclr.config.backbones import name_of

# Layers whose metrics go by their names alone; those of other layers are named layer/metric.
UNPREFIXED_LAYERS = ("classifier", "final_avg_pool", "pixels")
TRAINED_PREFIX = "eval"  # of the tags of the trained network


@dataclasses.dataclass
class Results:
    """Metrics and details: {network: {layer: {name: value}}}.

    Networks are `trained`, `untrained`, `pixels` and published ones, `hub:NAME`. The linear
    classifier counts as a layer, `classifier`.

    Attributes:
        metrics: numbers.
        details: what the report shows of them.
        left_out: [{"network", "place" (the layer), "evaluation", "reason"}].
    """

    metrics: dict = dataclasses.field(default_factory=dict)
    details: dict = dataclasses.field(default_factory=dict)
    left_out: list = dataclasses.field(default_factory=list)

    def add(self, network: str, layer: str, metrics: dict, details: dict):
        """Adds what one evaluation has measured."""
        for results, values in ((self.metrics, metrics), (self.details, details)):
            layers = results.setdefault(network, {})
            layers.setdefault(layer, {}).update(values)

    def leave_out(self, network: str, layer: str, evaluation: str, reason: str):
        """Adds that an evaluation was not possible."""
        self.left_out.append(
            {"network": network, "place": layer, "evaluation": evaluation, "reason": reason}
        )

    def include(self, other: "Results"):
        """Adds the results of further networks."""
        self.metrics |= other.metrics
        self.details |= other.details
        self.left_out += other.left_out

    def flat(self) -> dict[str, float]:
        """The metrics by their tags.

        Returns:
            {"eval/knn_accuracy": 0.9, "eval/block_group3/knn_accuracy": 0.8, "untrained/...",
            "pixels/..."}.
        """
        tags = {}
        for network, layers in self.metrics.items():
            prefix = TRAINED_PREFIX if network == "trained" else name_of(network)
            for layer, metrics in layers.items():
                inner = "" if layer in UNPREFIXED_LAYERS else f"{layer}/"
                for name, value in metrics.items():
                    tags[f"{prefix}/{inner}{name}"] = value
        return tags

    def as_json(self) -> dict:
        """The form in which results are saved, see `from_json`."""
        return {"figures": self.metrics, "details": self.details, "left_out": self.left_out}

    @classmethod
    def from_json(cls, saved: dict) -> "Results":
        """Results from the form in which they are saved."""
        return cls(saved["figures"], saved["details"], saved["left_out"])
