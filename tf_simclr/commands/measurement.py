"""What an evaluation has measured of a run."""

import dataclasses

from tf_simclr.evaluation.network_features import EvaluationData, NetworkFeatures
from tf_simclr.evaluation.results import Results


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What was measured of the weights as they are.

    Attributes:
        step: of the training.
        data: what was evaluated on.
        results: metrics and details of all networks.
        features: of the trained network.
        description: what the metrics are of.
    """

    step: int
    data: EvaluationData
    results: Results
    features: NetworkFeatures
    description: dict

    @property
    def tags(self) -> dict[str, float]:
        """{TensorBoard tag: metric}."""
        loss = {"eval/regularization_loss": self.description["regularization_loss"]}
        return {**loss, **self.results.flat()}

    @property
    def result(self) -> dict:
        """Metrics and what they are of, in the form of the original SimCLR release."""
        description = dict(self.description)
        del description["regularization_loss"]
        return {**self.tags, **description}

    @property
    def saved_result(self) -> dict:
        """The content of `result.json`."""
        return {**self.result, "global_step": self.step}
